"""The files: Perfetto traces that hold together, pictures that are SVG, and one clear line for anything else."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from avmm.errors import LoadError
from avmm_trace.perfetto_file import encode, read
from avmm_trace.summary import Summary
from avmm_trace.svg import MAX_ARROWS, draw
from avmm_trace.timeline import Category, CounterSample, Slice, Timeline, Track


def timeline_of(pairs: int = 3) -> Timeline:
    """Two vCPUs that take turns, a kick from the one to the other each time."""
    tracks = [Track(16, "vCPU 0"), Track(17, "vCPU 0 mode", 16), Track(18, "vCPU 1"), Track(19, "vCPU 1 mode", 18)]
    tracks.append(Track(70, "queue depth", 0, counter=True))
    timeline = Timeline("web-1", 6 * pairs, 0, {track.number: track for track in tracks})
    for number in range(pairs):
        at = 1_000 + 100 * number
        timeline.slices += [
            Slice(16, at, at + 50, Category.GUEST, "guest"),
            Slice(16, at + 20, at + 20, Category.REQUEST, "TLB_FLUSH to vCPU 1", "", [number + 1]),
            Slice(16, at + 21, at + 21, Category.KICK, "IPI to vCPU 1", "", [number + 1]),
            Slice(19, at + 21, at + 30 + number, Category.MODE, "EXITING_GUEST_MODE"),
            Slice(18, at + 30 + number, at + 30 + number, Category.EXIT, "kicked", "", [number + 1]),
            Slice(18, at + 40, at + 90, Category.SLEEP, "halted", "a <detail> & more"),
        ]
        timeline.samples.append(CounterSample(70, at, number))
    timeline.slices.sort(key=lambda one: one.start_ns)
    return timeline


def test_what_is_written_is_read(tmp_path: Path) -> None:
    timeline = timeline_of()
    (tmp_path / "trace").write_bytes(encode(timeline))
    assert read(tmp_path / "trace") == timeline


def test_perfetto_finds_every_slice_closed_and_every_arrow_ended_once() -> None:
    trace = Trace()
    trace.ParseFromString(encode(timeline_of()))
    descriptors = [packet.track_descriptor for packet in trace.packet if packet.HasField("track_descriptor")]
    described = {one.uuid: one for one in descriptors}
    depth: dict[int, int] = {}
    ended: list[int] = []
    flows: list[int] = []
    last_ns = 0
    for packet in trace.packet:
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        assert event.track_uuid in described, "a track is described before it is used"
        if event.type in (TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END):
            assert packet.timestamp >= last_ns
            last_ns = packet.timestamp
            depth[event.track_uuid] = depth.get(event.track_uuid, 0) + (1 if event.type == TrackEvent.TYPE_SLICE_BEGIN else -1)
            assert depth[event.track_uuid] >= 0
        ended += event.terminating_flow_ids
        flows += event.flow_ids
    assert set(depth.values()) == {0}
    assert sorted(ended) == [1, 2, 3]
    assert sorted(flows) == [1, 1, 2, 2, 3, 3]
    assert all(one.parent_uuid in described for one in described.values() if one.parent_uuid)


def test_a_slice_ends_before_the_next_begins_at_the_same_time(tmp_path: Path) -> None:
    timeline = Timeline("vm0", 2, 0, {16: Track(16, "vCPU 0")})
    timeline.slices = [Slice(16, 1, 5, Category.GUEST, "entering"), Slice(16, 5, 9, Category.GUEST, "guest")]
    (tmp_path / "trace").write_bytes(encode(timeline))
    assert read(tmp_path / "trace").slices == timeline.slices


def test_the_summary_names_the_longest() -> None:
    summary = Summary.of(timeline_of())
    assert summary.longest_kick_to_exit is not None
    assert (summary.longest_kick_to_exit.length_ns, summary.longest_kick_to_exit.track) == (11, "vCPU 1")
    assert summary.longest_kick_to_exit.cause == "kicked by vCPU 0"
    assert summary.exits == {"kicked": 3}
    assert summary.kicks == {"IPI": 3}
    assert "longest from kick to exit: 11 ns (vCPU 1 at 0.000000 s, kicked by vCPU 0)" in summary.text()
    assert "longest halt: 50 ns" in summary.text()


@pytest.mark.parametrize("content", [b"", b"no trace at all, but text\n", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 100])
def test_what_is_no_trace_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(LoadError) as raised:
        read(tmp_path / "file")
    assert str(raised.value).startswith(f"{tmp_path / 'file'}: ")
    assert "\n" not in str(raised.value)


def test_a_foreign_trace_is_named_as_one(tmp_path: Path) -> None:
    trace = Trace()
    trace.packet.add().track_event.name = "something else"
    (tmp_path / "file").write_bytes(trace.SerializeToString())
    with pytest.raises(LoadError, match="has not written"):
        read(tmp_path / "file")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 30), st.integers(1, 8))
def test_a_damaged_trace_is_a_line_or_still_a_timeline(tmp_path_factory: pytest.TempPathFactory, seed: int, hits: int) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    data, luck = bytearray(encode(timeline_of(2))), random.Random(seed)
    for _ in range(hits):
        data[luck.randrange(len(data))] = luck.randrange(256)
    path.write_bytes(data[: luck.randrange(1, len(data) + 1)])
    with suppress(LoadError):
        timeline = read(path)
        Summary.of(timeline).text()
        draw(timeline)


def test_a_picture_is_svg_of_bounded_size() -> None:
    picture = ElementTree.fromstring(draw(timeline_of(20_000)))
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    arrows = picture.findall(".//*[@class='arrow']")
    assert MAX_ARROWS // 2 < len(arrows) <= MAX_ARROWS
    assert len(picture.findall(".//*[@class='guest']")) < 1_300
    assert any("one kick in 100 is drawn" in (text.text or "") for text in picture.iter())


def test_a_picture_may_show_a_part() -> None:
    whole, part = (ElementTree.fromstring(one) for one in (draw(timeline_of(9)), draw(timeline_of(9), 100, 250)))
    assert len(whole.findall(".//*[@class='arrow']")) == 9
    assert len(part.findall(".//*[@class='arrow']")) == 2


def test_a_picture_of_nothing_is_one() -> None:
    ElementTree.fromstring(draw(Timeline("vm0", 0, 0)))
