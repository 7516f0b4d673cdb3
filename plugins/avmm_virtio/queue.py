"""The split virtqueue (virtio 1.2, 2.7), seen from the device: nothing the driver wrote there is believed unchecked."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from mmap import mmap
from threading import Lock
from typing import Final

from avmm.plugin import GuestMemory, MemorySlot
from avmm_virtio.chain import Buffer, Chain

MAX_SIZE: Final = 32768
_DESCRIPTOR = struct.Struct("<QIHH")
"""struct virtq_desc: addr, len, flags, next (2.7.5)."""
_F_NEXT, _F_WRITE, _F_INDIRECT = 1, 2, 4
_USED_ELEMENT = struct.Struct("<II")
"""struct virtq_used_elem: id, len (2.7.8)."""
_U16 = struct.Struct("<H")
_AVAIL_F_NO_INTERRUPT = 1
_FENCE = Lock()
"""Taking and giving it is a full memory barrier: a store before it is seen before anything is loaded after it."""


class QueueError(Exception):
    """The driver broke a rule of the virtqueue; the message says which, in one line."""


class SplitQueue:
    """One virtqueue of a device. Owner: the device lock. Every method raises QueueError for what a driver must not do.

    `maximum` is the largest size the driver may choose, a power of 2 up to 32768 (2.7). The driver's part is `size`, the guest
    physical addresses `descriptors`, `available` and `used`, and the negotiated `event_index` and `indirect`; they stand still
    between `enable` and `reset`.
    """

    __slots__ = (
        "_avail",
        "_avail_at",
        "_avail_seen",
        "_epoch",
        "_mask",
        "_memory",
        "_next_avail",
        "_signalled",
        "_table",
        "_table_at",
        "_used",
        "_used_at",
        "_used_index",
        "available",
        "descriptors",
        "event_index",
        "indirect",
        "maximum",
        "ready",
        "size",
        "used",
    )
    _table: mmap
    _avail: mmap
    _used: mmap
    _table_at: int
    _avail_at: int
    _used_at: int

    def __init__(self, memory: GuestMemory, maximum: int) -> None:
        assert 0 < maximum <= MAX_SIZE
        assert maximum & maximum - 1 == 0
        self._memory, self.maximum = memory, maximum
        self.reset()

    def reset(self) -> None:
        """Back to what it was before the driver set it up. Chains that are out are no longer current."""
        self.ready = self.event_index = self.indirect = False
        self.size = self.maximum
        self.descriptors = self.available = self.used = 0
        self._next_avail = self._avail_seen = self._used_index = self._signalled = self._mask = 0
        self._epoch = object()

    def enable(self) -> None:
        """The driver says that the queue is ready (2.7, 4.2.3.2)."""
        size = self.size
        if size & size - 1 or not 0 < size <= self.maximum:
            raise QueueError(f"a queue size of {size} is not a power of 2 up to {self.maximum}")
        if self.descriptors % 16 or self.available % 2 or self.used % 4:
            raise QueueError(f"{self.descriptors:#x}, {self.available:#x}, {self.used:#x}: not aligned to 16, 2, 4 bytes")
        events = 2 if self.event_index else 0
        self._table, self._table_at, _ = self._resolve("a descriptor table", self.descriptors, 16 * size)
        self._avail, self._avail_at, _ = self._resolve("an available ring", self.available, 4 + 2 * size + events)
        self._used, self._used_at, _ = self._resolve("a used ring", self.used, 4 + 8 * size + events, write=True)
        self._mask = size - 1
        _U16.pack_into(self._used, self._used_at, 0)  # flags: notifications are wanted (2.7.10)
        self.ready = True

    def pop(self) -> Chain | None:
        """Take the next available chain, or None. None also has the driver notify of the next one."""
        if not self.ready:
            return None
        position = self._next_avail
        if position == self._avail_seen:
            self._avail_seen = _U16.unpack_from(self._avail, self._avail_at + 2)[0]
            if position == self._avail_seen:
                if not self.event_index:
                    return None
                # First ask to be notified, then look once more: a chain that comes in between is not missed (2.7.10).
                _U16.pack_into(self._used, self._used_at + 4 + 8 * self.size, position)
                with _FENCE:
                    pass
                self._avail_seen = _U16.unpack_from(self._avail, self._avail_at + 2)[0]
                if position == self._avail_seen:
                    return None
            waiting = self._avail_seen - position & 0xFFFF
            if waiting > self.size:
                raise QueueError(f"{waiting} chains are available in a queue of {self.size}")
        head: int = _U16.unpack_from(self._avail, self._avail_at + 4 + 2 * (position & self._mask))[0]
        chain = self._walk(head)
        self._next_avail = position + 1 & 0xFFFF
        return chain

    def is_current(self, chain: Chain) -> bool:
        """False once the queue was reset since it gave `chain` out, or `chain` was given back."""
        return chain.epoch is self._epoch

    def push(self, chain: Chain, written: int) -> None:
        """Give `chain`, which must be current, back with the first `written` bytes of its writable part written."""
        assert chain.epoch is self._epoch, "a chain of the queue's, given back once"
        chain.epoch = None
        index = self._used_index
        _USED_ELEMENT.pack_into(self._used, self._used_at + 4 + 8 * (index & self._mask), chain.head, written)
        self._used_index = index = index + 1 & 0xFFFF
        # The element first, the index that shows it second (2.7.8.2).
        _U16.pack_into(self._used, self._used_at + 2, index)

    def push_all(self, chains: Sequence[tuple[Chain, int]]) -> None:
        """Give several chains back, each with what was written, so that the driver sees either none of them or all."""
        index = self._used_index
        for chain, written in chains:
            assert chain.epoch is self._epoch, "a chain of the queue's, given back once"
            chain.epoch = None
            _USED_ELEMENT.pack_into(self._used, self._used_at + 4 + 8 * (index & self._mask), chain.head, written)
            index = index + 1 & 0xFFFF
        self._used_index = index
        # As in push: the elements first, the index that shows them second.
        _U16.pack_into(self._used, self._used_at + 2, index)

    def wants_interrupt(self) -> bool:
        """True when the driver wants an interrupt for what was given back since this was last asked (2.7.7, 2.7.10)."""
        old, new = self._signalled, self._used_index
        if old == new or not self.ready:
            return False
        self._signalled = new
        # The index we wrote first, the driver's wish second: the driver writes its wish, then looks at the index.
        with _FENCE:
            pass
        if self.event_index:
            event: int = _U16.unpack_from(self._avail, self._avail_at + 4 + 2 * self.size)[0]
            return new - event - 1 & 0xFFFF < new - old & 0xFFFF
        flags: int = _U16.unpack_from(self._avail, self._avail_at)[0]
        return not flags & _AVAIL_F_NO_INTERRUPT

    def _walk(self, head: int) -> Chain:
        readable: list[Buffer] = []
        writable: list[Buffer] = []
        readable_bytes = writable_bytes = 0
        table: mmap | bytes = self._table
        at, count, index, inside = self._table_at, self.size, head, False
        unpack = _DESCRIPTOR.unpack_from
        start, end, memory, read_only = 1, 0, self._table, False  # the slot of the buffer before
        # A chain has at most `size` descriptors, those of an indirect table included (2.7.5.3.1): one that loops ends here.
        left = self.size
        while left:
            if index >= count:
                raise QueueError(f"descriptor {index} is outside a table of {count}")
            address, length, flags, following = unpack(table, at + 16 * index)
            if flags & _F_INDIRECT:
                if not self.indirect:
                    raise QueueError("an indirect descriptor, which was not negotiated")
                if inside or flags & _F_NEXT:
                    raise QueueError("an indirect descriptor that is inside of a table or has a next one")
                if not length or length % 16:
                    raise QueueError(f"an indirect table of {length} bytes")
                table, at, _ = self._resolve("an indirect table", address, length)
                count, index, inside = length // 16, 0, True
                if count <= self.size:  # a large one is not copied for the part that a chain may have
                    table, at = table[at : at + length], 0
                continue
            left -= 1
            # A request of a megabyte has 256 buffers, all in one slot: nothing is called for each of them.
            if not start <= address <= address + length <= end:
                slot = self._slot("a buffer", address, length)
                start, end, memory, read_only = slot.address, slot.end, slot.buffer, slot.read_only
            if flags & _F_WRITE:
                if read_only:
                    raise QueueError(f"a buffer of {length} bytes at {address:#x}, where memory is read-only")
                writable.append((memory, address - start, length))
                writable_bytes += length
            elif writable:
                raise QueueError("a buffer to read behind one to write")
            else:
                readable.append((memory, address - start, length))
                readable_bytes += length
            if not flags & _F_NEXT:
                return Chain(head, readable, writable, self._epoch, readable_bytes, writable_bytes)
            index = following
        raise QueueError("a descriptor chain that does not end")

    def _resolve(self, what: str, address: int, size: int, *, write: bool = False) -> Buffer:
        """The memory behind `size` bytes at guest physical `address`."""
        slot = self._slot(what, address, size)
        if write and slot.read_only:
            raise QueueError(f"{what} of {size} bytes at {address:#x}, where memory is read-only")
        return slot.buffer, address - slot.address, size

    def _slot(self, what: str, address: int, size: int) -> MemorySlot:
        slot = self._memory.find(address, size)
        if slot is None:
            raise QueueError(f"{what} of {size} bytes at {address:#x}, where no memory is")
        return slot
