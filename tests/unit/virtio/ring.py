"""A driver of a split virtqueue, in a few pages of guest memory."""

from __future__ import annotations

import struct

from avmm.plugin import GuestMemory, MemorySlot

RAM, RAM_SIZE = 0x4000_0000, 0x1_0000
DESCRIPTORS, AVAILABLE, USED, BUFFERS = RAM, RAM + 0x1000, RAM + 0x2000, RAM + 0x4000
NEXT, WRITE, INDIRECT = 1, 2, 4


class Driver:
    """Writes descriptors and available entries as a guest does; reads used ones back."""

    def __init__(self, size: int = 8, memory: GuestMemory | None = None, at: int = 0) -> None:
        """In `memory` of its own, or `at` bytes further than usual in that of others."""
        if memory is None:
            memory = GuestMemory()
            memory.add(MemorySlot(RAM, RAM_SIZE))
        self.memory, self.at = memory, at
        self.size, self.available = size, 0

    def describe(self, index: int, address: int, length: int, flags: int = 0, following: int = 0) -> None:
        self.memory.write(self.at + DESCRIPTORS + 16 * index, struct.pack("<QIHH", address, length, flags, following))

    def offer(self, head: int) -> None:
        self.memory.write(self.at + AVAILABLE + 4 + 2 * (self.available % self.size), head.to_bytes(2, "little"))
        self.available = self.available + 1 & 0xFFFF
        self.memory.write(self.at + AVAILABLE + 2, self.available.to_bytes(2, "little"))

    def text(self, index: int, data: bytes, flags: int = 0, following: int = 0) -> None:
        """Put `data` into a buffer of its own, behind descriptor `index`."""
        self.memory.write(self.at + BUFFERS + 0x100 * index, data)
        self.describe(index, self.at + BUFFERS + 0x100 * index, len(data), flags, following)

    def used(self) -> list[tuple[int, int]]:
        """What the device has given back, oldest first; the ring must not have gone round."""
        (index,) = struct.unpack("<H", self.memory.read(self.at + USED + 2, 2))
        return [struct.unpack("<II", self.memory.read(self.at + USED + 4 + 8 * n, 8)) for n in range(index)]
