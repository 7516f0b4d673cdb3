"""Cutting a byte stream into frames, wherever it breaks."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from avmm_virtio.framing import FrameReader, FramingError, framed
from avmm_virtio.netdev import MAX_FRAME


def fill(reader: FrameReader, data: bytes) -> int:
    """As much of `data` as there is space for."""
    space = reader.space()
    count = min(len(space), len(data))
    space[:count] = data[:count]
    reader.filled(count)
    return count


def take(reader: FrameReader, count: int = 1 << 30) -> list[bytes]:
    frames = reader.frames()[:count]
    taken = [bytes(frame) for frame in frames]
    reader.consume(frames)
    return taken


def test_a_frame_has_its_length_in_front() -> None:
    assert framed([b"abc", b""]) == b"\0\0\0\3abc\0\0\0\0"


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 60), min_size=1))
@example([b"abcdefghijklmn"], [1])
def test_frames_come_out_whole_wherever_the_stream_is_cut(frames: list[bytes], cuts: list[int]) -> None:
    reader, stream, out, turn = FrameReader(), framed(frames), [], 0
    while stream:
        cut = cuts[turn % len(cuts)]
        assert fill(reader, stream[:cut]) == len(stream[:cut])
        stream, turn = stream[cut:], turn + 1
        out += take(reader)
    assert out == frames


@given(st.lists(st.integers(0, MAX_FRAME), max_size=20), st.integers(1, 3))
def test_there_is_always_space_for_the_rest_of_a_frame(sizes: list[int], at_once: int) -> None:
    """Whatever was consumed late: the buffer never fills with half a frame in it."""
    frames = [bytes([size & 0xFF]) * size for size in sizes]
    reader, stream, out = FrameReader(), framed(frames), []
    while stream or reader.frames():
        count = fill(reader, stream)
        stream = stream[count:]
        some = take(reader, at_once)
        assert count or some or not stream
        out += some
    assert out == frames


def test_the_largest_frame_fits_and_one_byte_more_is_an_error() -> None:
    reader = FrameReader()
    fill(reader, framed([b"x" * MAX_FRAME]))
    assert take(reader) == [b"x" * MAX_FRAME]
    fill(reader, (MAX_FRAME + 1).to_bytes(4, "big"))
    with pytest.raises(FramingError, match="a frame of 65550 bytes; the largest has 65549"):
        reader.frames()


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_an_error(data: bytes) -> None:
    reader = FrameReader()
    fill(reader, data)
    try:
        frames = take(reader)
    except FramingError:
        return
    assert data.startswith(framed(frames))
