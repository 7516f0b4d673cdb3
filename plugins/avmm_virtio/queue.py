"""The split virtqueue (virtio 1.1, 2.6), seen from the device: nothing the driver wrote there is believed unchecked."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from avmm.plugin import GuestMemory

_DESCRIPTOR = struct.Struct("<QIHH")
"""struct virtq_desc: addr, len, flags, next (2.6.5)."""
_F_NEXT, _F_WRITE, _F_INDIRECT = 1, 2, 4
_USED_ELEMENT = struct.Struct("<II")
"""struct virtq_used_elem: id, len (2.6.8)."""
_AVAIL_F_NO_INTERRUPT = 1


class QueueError(Exception):
    """The driver broke a rule of the virtqueue; the message says which, in one line."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A descriptor chain: buffers as (guest physical address, bytes), those to read before those to write (2.6.4.2)."""

    head: int
    readable: tuple[tuple[int, int], ...]
    writable: tuple[tuple[int, int], ...]


class SplitQueue:
    """One virtqueue of a device. Owner: the device lock.

    `maximum` is the largest size the driver may choose, a power of 2 up to 32768 (2.6). While `ready` holds, `size` and the
    three addresses are what the driver set; indirect descriptors are not offered and are an error.
    """

    __slots__ = ("_memory", "_next_avail", "_used_index", "available", "descriptors", "maximum", "ready", "size", "used")

    def __init__(self, memory: GuestMemory, maximum: int) -> None:
        assert 0 < maximum <= 32768
        assert maximum & maximum - 1 == 0
        self._memory, self.maximum = memory, maximum
        self.reset()

    def reset(self) -> None:
        """Back to what it was before the driver set it up."""
        self.ready = False
        self.size = self.maximum
        self.descriptors = self.available = self.used = 0
        self._next_avail = self._used_index = 0

    def pop(self) -> Chain | None:
        """Take the next available chain, or None. QueueError for anything that is not one, and the queue is of no use then."""
        if not self.ready:
            return None
        if self.size & self.size - 1 or not 0 < self.size <= self.maximum:
            raise QueueError(f"a queue size of {self.size} is not a power of 2 up to {self.maximum}")
        waiting = self._u16(self.available + 2) - self._next_avail & 0xFFFF
        if not waiting:
            return None
        if waiting > self.size:
            raise QueueError(f"{waiting} chains are available in a queue of {self.size}")
        head = self._u16(self.available + 4 + 2 * (self._next_avail % self.size))
        chain = self._walk(head)
        self._next_avail = self._next_avail + 1 & 0xFFFF
        return chain

    def push(self, head: int, written: int) -> bool:
        """Give the chain of `head` back with `written` bytes in its writable buffers; True when the driver wants an interrupt."""
        element = self.used + 4 + _USED_ELEMENT.size * (self._used_index % self.size)
        self._write(element, _USED_ELEMENT.pack(head, written))
        self._used_index = self._used_index + 1 & 0xFFFF
        # The element first, the index that shows it second (2.6.8.2).
        self._write(self.used + 2, self._used_index.to_bytes(2, "little"))
        return not self._u16(self.available) & _AVAIL_F_NO_INTERRUPT

    def _walk(self, head: int) -> Chain:
        readable: list[tuple[int, int]] = []
        writable: list[tuple[int, int]] = []
        index = head
        # A chain has at most `size` descriptors (2.6.5.3.1), so one that loops ends here.
        for _ in range(self.size):
            if index >= self.size:
                raise QueueError(f"descriptor {index} is outside a queue of {self.size}")
            raw = self._read(self.descriptors + _DESCRIPTOR.size * index, _DESCRIPTOR.size)
            address, length, flags, following = _DESCRIPTOR.unpack(raw)
            if flags & _F_INDIRECT:
                raise QueueError("an indirect descriptor, which was not offered")
            if self._memory.find(address, length) is None:
                raise QueueError(f"a buffer of {length} bytes at {address:#x}, where no memory is")
            if flags & _F_WRITE:
                writable.append((address, length))
            elif writable:
                raise QueueError("a buffer to read behind one to write")
            else:
                readable.append((address, length))
            if not flags & _F_NEXT:
                return Chain(head, tuple(readable), tuple(writable))
            index = following
        raise QueueError("a descriptor chain that does not end")

    def _u16(self, address: int) -> int:
        return int.from_bytes(self._read(address, 2), "little")

    def _read(self, address: int, size: int) -> bytes:
        try:
            return self._memory.read(address, size)
        except ValueError as error:
            raise QueueError(str(error)) from None

    def _write(self, address: int, data: bytes) -> None:
        try:
            self._memory.write(address, data)
        except ValueError as error:
            raise QueueError(str(error)) from None
