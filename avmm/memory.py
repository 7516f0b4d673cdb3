"""Guest memory: slots of guest physical address space, each one anonymous mmap."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress

from avmm.errors import ConfigError

PAGE_SIZE = 4096
_LARGE_PAGE = 2 << 20
"""A large page of an x86-64 or arm64 host with pages of 4 KiB; a host of another kind takes what it has."""


class MemorySlot:
    """`size` bytes of guest memory at guest physical `address`; both multiples of 4096.

    `buffer` is the one host mapping behind it, shared with the engine: what the host writes there, the guest reads.
    """

    __slots__ = ("address", "buffer", "name", "read_only", "size")

    def __init__(self, address: int, size: int, *, name: str = "ram", read_only: bool = False) -> None:
        if address < 0 or size <= 0 or address % PAGE_SIZE or size % PAGE_SIZE:
            raise ConfigError(f"memory slot {name}: address {address:#x} and size {size:#x} must be multiples of {PAGE_SIZE}")
        self.address, self.size, self.name, self.read_only = address, size, name, read_only
        # Private and anonymous: pages come when the guest first touches them.
        self.buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    @property
    def end(self) -> int:
        """The first address behind the slot."""
        return self.address + self.size

    def close(self) -> None:
        """Give the mapping back. The engine must have let go of it."""
        self.buffer.close()


class GuestMemory:
    """All memory slots of a VM, by guest physical address. Slots are disjoint."""

    __slots__ = ("_slots", "_starts")

    def __init__(self) -> None:
        self._slots: list[MemorySlot] = []
        self._starts: list[int] = []

    def __iter__(self) -> Iterator[MemorySlot]:
        return iter(self._slots)

    def add(self, slot: MemorySlot) -> None:
        """Add a slot; ConfigError when it overlaps another."""
        for other in self._slots:
            if slot.address < other.end and other.address < slot.end:
                raise ConfigError(
                    f"memory slot {slot.name} {slot.address:#x}-{slot.end - 1:#x} overlaps {other.name}"
                    f" ({other.address:#x}-{other.end - 1:#x})"
                )
        position = bisect_right(self._starts, slot.address)
        self._slots.insert(position, slot)
        self._starts.insert(position, slot.address)

    def remove(self, slot: MemorySlot) -> None:
        """Take a slot out. The caller closes it once the engine has let go."""
        position = self._slots.index(slot)
        del self._slots[position], self._starts[position]

    def find(self, address: int, size: int) -> MemorySlot | None:
        """The slot that holds all of [address, address + size), or None."""
        position = bisect_right(self._starts, address) - 1
        if position < 0:
            return None
        slot = self._slots[position]
        return slot if address + size <= slot.end else None

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at guest physical `address`; ValueError when they are not all in one slot."""
        slot = self._slot(address, size)
        offset = address - slot.address
        return slot.buffer[offset : offset + size]

    def write(self, address: int, data: bytes) -> None:
        """Store `data` at guest physical `address`, read-only slots included; ValueError when it does not fit one slot."""
        slot = self._slot(address, len(data))
        offset = address - slot.address
        slot.buffer[offset : offset + len(data)] = data

    def to_fill(self, address: int, size: int) -> memoryview:
        """`size` bytes at guest physical `address`, read-only slots included, to be written now, all of them, and then released.

        The host is asked for large pages: a kernel of 27 MB is 13 page faults with them, and 6,650 without. ValueError when
        they are not all in one slot.
        """
        slot = self._slot(address, size)
        offset = address - slot.address
        start, end = offset // _LARGE_PAGE * _LARGE_PAGE, -(-(offset + size) // _LARGE_PAGE) * _LARGE_PAGE
        if size >= _LARGE_PAGE:
            with suppress(OSError):  # a host without large pages
                slot.buffer.madvise(mmap.MADV_HUGEPAGE, start, min(end, slot.size) - start)
        return memoryview(slot.buffer)[offset : offset + size]

    def discard(self, address: int, size: int) -> int:
        """Give what is in [address, address + size) back to the host: it reads as zeros until it is written again. Any thread.

        How many bytes that were: whole pages of the host's only. ValueError unless all is in one slot that is not read-only.
        """
        slot = self._slot(address, size)
        if slot.read_only:
            raise ValueError(f"guest memory at {address:#x} is read-only")
        start = address - slot.address
        end = (start + size) // mmap.PAGESIZE * mmap.PAGESIZE
        start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        if start >= end:
            return 0
        slot.buffer.madvise(mmap.MADV_DONTNEED, start, end - start)
        return end - start

    def _slot(self, address: int, size: int) -> MemorySlot:
        slot = self.find(address, size) if size >= 0 else None
        if slot is None:
            raise ValueError(f"guest memory has no {size} bytes at {address:#x}")
        return slot

    def close(self) -> None:
        """Give all memory back."""
        for slot in self._slots:
            slot.close()
        self._slots.clear()
        self._starts.clear()
