"""A descriptor chain (virtio 1.2, 2.7.5): buffers in guest memory, checked when the chain was taken."""

from __future__ import annotations

from mmap import mmap
from typing import TypeAlias

Buffer: TypeAlias = tuple[mmap, int, int]
"""A host mapping, the offset of the first byte in it, and how many bytes: all of them guest memory."""


class Chain:
    """A request of the driver: buffers to read, then buffers to write.

    Guest memory may be touched only with the device lock held, and only while the chain is the device's: `Virtqueue.is_current`
    says so. A view that is still held when the lock is given up is an error: read into host memory what is needed beyond.
    """

    __slots__ = ("epoch", "head", "readable", "readable_bytes", "writable", "writable_bytes")

    def __init__(
        self,
        head: int,
        readable: list[Buffer],
        writable: list[Buffer],
        epoch: object,
        readable_bytes: int,
        writable_bytes: int,
    ) -> None:
        self.head, self.readable, self.writable = head, readable, writable
        self.readable_bytes, self.writable_bytes = readable_bytes, writable_bytes
        """How many bytes the driver gives, and has room for: the lengths of the buffers, added up."""
        self.epoch: object = epoch
        """What the queue was when it gave this chain out; None once the chain is given back."""

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """A copy of `size` bytes (all there are, by default) from byte `offset` of the readable part; fewer at its end."""
        if len(self.readable) == 1:  # no need to join anything
            mapping, start, length = self.readable[0]
            end = length if size is None else min(length, offset + size)
            return mapping[start + offset : start + end]
        return b"".join(self.readable_views(offset, size))

    def write(self, data: bytes | bytearray | memoryview, offset: int = 0) -> int:
        """Store `data` from byte `offset` of the writable part on; how many bytes there was room for."""
        stored, left = 0, len(data)
        for mapping, start, length in self.writable:
            if offset >= length:
                offset -= length
                continue
            size = min(length - offset, left)
            mapping[start + offset : start + offset + size] = data if size == len(data) else data[stored : stored + size]
            stored, left, offset = stored + size, left - size, 0
            if not left:
                break
        return stored

    def write_last(self, value: int) -> None:
        """Store one byte as the last of the writable part, which must have room for it."""
        for mapping, start, length in reversed(self.writable):
            if length:
                mapping[start + length - 1] = value
                return

    def readable_views(self, offset: int = 0, size: int | None = None) -> list[memoryview]:
        """The same bytes as `read`, not copied, read-only: for preadv, sendmsg and the like, under the device lock."""
        return _views(self.readable, offset, size, read_only=True)

    def writable_views(self, offset: int = 0, size: int | None = None) -> list[memoryview]:
        """`size` bytes (all there are, by default) from byte `offset` of the writable part, in place, under the device lock."""
        return _views(self.writable, offset, size)


def _views(buffers: list[Buffer], offset: int, size: int | None, *, read_only: bool = False) -> list[memoryview]:
    views: list[memoryview] = []
    mapping, whole = None, memoryview(b"")
    for buffer, start, length in buffers:
        if offset >= length:
            offset -= length
            continue
        if mapping is not buffer:  # all are in one, mostly
            mapping, whole = buffer, memoryview(buffer)
            if read_only:
                whole = whole.toreadonly()
        start, length, offset = start + offset, length - offset, 0
        if size is not None:
            length = min(length, size)
            size -= length
        if length:
            views.append(whole[start : start + length])
        if size == 0:
            break
    return views
