"""Register accesses of any width on a file of 32-bit registers."""

from __future__ import annotations

from collections.abc import Callable

from avmm.plugin import Width

WORD = 0xFFFF_FFFF


def read_words(read: Callable[[int], int], offset: int, width: Width) -> int:
    """Read `width` bytes at `offset` through `read(word-aligned offset)`; an unaligned access stays inside its word."""
    aligned = offset & ~3
    if width == Width.W64:
        return read(aligned) | read(aligned + 4) << 32
    return read(aligned) >> 8 * (offset & 3)


def write_words(write: Callable[[int, int], None], offset: int, width: Width, value: int) -> None:
    """Write through `write(word-aligned offset, value)`. Narrow and unaligned writes are ignored, as IHI 0069 12.1.3 allows."""
    if offset & 3 or width < Width.W32:
        return
    write(offset, value & WORD)
    if width == Width.W64:
        write(offset + 4, value >> 32 & WORD)
