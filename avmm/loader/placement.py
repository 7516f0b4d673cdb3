"""Putting bytes into guest memory, or saying why they do not fit."""

from __future__ import annotations

from io import BufferedIOBase

from avmm.errors import LoadError
from avmm.memory import GuestMemory

_ZEROS = bytes(1 << 16)


def check_fits(memory: GuestMemory, address: int, size: int, what: str) -> None:
    """LoadError unless one memory slot holds all of [address, address + size)."""
    if memory.find(address, size) is None:
        slots = ", ".join(f"{slot.address:#x}-{slot.end - 1:#x}" for slot in memory) or "none"
        raise LoadError(f"{what} needs {size:#x} bytes at {address:#x}, which guest memory ({slots}) does not have")


def place(memory: GuestMemory, address: int, file: BufferedIOBase, offset: int, size: int, what: str) -> None:
    """Read `size` bytes of `file`, from `offset` on, into guest memory; LoadError when they do not fit, or are not there now."""
    check_fits(memory, address, size, what)
    file.seek(offset)
    with memory.to_fill(address, size) as room:
        if file.readinto(room) != size:
            raise LoadError("changed while it was read")


def clear(memory: GuestMemory, address: int, size: int) -> None:
    """Zero `size` bytes at guest physical `address`, which one memory slot is known to hold."""
    while size:
        step = min(size, len(_ZEROS))
        memory.write(address, _ZEROS[:step])
        address, size = address + step, size - step
