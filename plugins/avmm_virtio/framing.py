"""Ethernet frames on a stream socket, as QEMU's `-netdev stream` and passt send them: length (4 bytes, big-endian), frame."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from avmm_virtio.netdev import MAX_FRAME

_LENGTH = struct.Struct(">I")
_CAPACITY = 4 * (_LENGTH.size + MAX_FRAME)


class FramingError(Exception):
    """The peer sent what cannot be a frame; the message says what, in one line."""


class FrameReader:
    """Cuts what a peer sends into frames. Its buffer is all it ever keeps: 256 KiB.

    Fill what `space` gives and tell `filled`; then look at `frames`, and `consume` those that are done with.
    """

    __slots__ = ("_bytes", "_end", "_start", "_view")

    def __init__(self) -> None:
        self._bytes = bytearray(_CAPACITY)
        self._view = memoryview(self._bytes)
        self._start = self._end = 0

    def space(self) -> memoryview:
        """Where the next bytes go. Never empty once the whole frames have been consumed."""
        if self._start == self._end:
            self._start = self._end = 0
        elif _CAPACITY - self._end < _CAPACITY // 2:
            left = self._end - self._start
            self._view[:left] = self._view[self._start : self._end]
            self._start, self._end = 0, left
        return self._view[self._end :]

    def filled(self, count: int) -> None:
        """`count` bytes have come into `space()`."""
        self._end += count

    def frames(self) -> list[memoryview]:
        """Every whole frame here, oldest first, valid until `space` is called. FramingError for a length that none can have."""
        found = []
        view, position, end = self._view, self._start, self._end
        while end - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(view, position)
            if length > MAX_FRAME:
                raise FramingError(f"a frame of {length} bytes; the largest has {MAX_FRAME}")
            position += _LENGTH.size + length
            if position > end:
                break
            found.append(view[position - length : position])
        return found

    def consume(self, frames: Sequence[memoryview]) -> None:
        """The first of `frames()` are done with."""
        self._start += sum(map(len, frames)) + _LENGTH.size * len(frames)


def frame_parts(frames: Sequence[bytes]) -> list[bytes]:
    """`frames` as they go to a peer: length, frame, length, frame."""
    parts: list[bytes] = []
    for frame in frames:
        parts += (_LENGTH.pack(len(frame)), frame)
    return parts


def framed_size(frame: bytes) -> int:
    """How many bytes of a stream `frame` takes."""
    return _LENGTH.size + len(frame)


def framed(frames: Sequence[bytes]) -> bytes:
    """The same in one piece."""
    return b"".join(frame_parts(frames))
