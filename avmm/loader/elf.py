"""ELF executables (System V ABI, chapters "Object Files" and "Program Loading"): 64 bits, little-endian, by physical address.

By hand, because a loader looks at two small tables, and a library insists on a third, the section table, which an executable need
not have in good order to run. The tests hold it against one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import SEEK_END, BufferedIOBase

from avmm.errors import LoadError
from avmm.loader.placement import check_fits, clear, place
from avmm.memory import GuestMemory
from avmm.record import Record

MAGIC = b"\x7fELF"

_CLASS_64, _LITTLE_ENDIAN = 2, 1
_EXECUTABLE, _SHARED = 2, 3
_PT_LOAD = 1
_HEADER = struct.Struct("<16x HHI QQQ I HHH 6x")
"""Ehdr: type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, and three of the section table."""
_SEGMENT = struct.Struct("<II QQQQQ 8x")
"""Phdr: type, flags, offset, vaddr, paddr, filesz, memsz, align."""
_MACHINES = {3: "x86", 40: "32-bit ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}


class _Segment(Record):
    """A PT_LOAD segment."""

    offset: int
    virtual: int
    physical: int
    file_size: int
    memory_size: int


def load(file: BufferedIOBase, memory: GuestMemory, machine: int) -> tuple[int, int]:
    """Load an executable for `machine` (e_machine); the physical entry address, and the end of the highest segment."""
    entry, segments = _read_headers(file, machine)
    if not segments:
        raise LoadError("the ELF file has no segment to load")
    # All of it is checked before the first byte is written.
    for segment in segments:
        check_fits(memory, segment.physical, segment.memory_size, "an ELF segment")
        _check_whole(file, segment.offset, segment.file_size)
    for segment in segments:
        place(memory, segment.physical, file, segment.offset, segment.file_size, "an ELF segment")
        clear(memory, segment.physical + segment.file_size, segment.memory_size - segment.file_size)
    return _physical(entry, segments), max(segment.physical + segment.memory_size for segment in segments)


def _read_headers(file: BufferedIOBase, machine: int) -> tuple[int, list[_Segment]]:
    header = _read(file, 0, _HEADER.size)
    if (header[4], header[5]) != (_CLASS_64, _LITTLE_ENDIAN):
        order = "little" if header[5] == _LITTLE_ENDIAN else "big"
        bits = 64 if header[4] == _CLASS_64 else 32
        raise LoadError(f"the ELF file is {bits}-bit {order}-endian, not 64-bit little-endian")
    kind, its_machine, _, entry, table, _, _, _, entry_size, count = _HEADER.unpack(header)
    if its_machine != machine:
        raise LoadError(f"the ELF file is for {_machine(its_machine)}, not for {_machine(machine)}")
    if kind not in (_EXECUTABLE, _SHARED):
        raise LoadError(f"the ELF file is not an executable (e_type {kind})")
    if count and entry_size != _SEGMENT.size:
        raise LoadError(f"the ELF file's program headers are {entry_size} bytes each, not {_SEGMENT.size}")
    return entry, list(_segments(_read(file, table, count * _SEGMENT.size)))


def _segments(table: bytes) -> Iterator[_Segment]:
    for kind, _, offset, virtual, physical, file_size, memory_size in _SEGMENT.iter_unpack(table):
        if kind == _PT_LOAD and memory_size:
            if file_size > memory_size:
                raise LoadError(f"the ELF segment at {physical:#x} has more bytes in the file than in memory")
            yield _Segment(offset, virtual, physical, file_size, memory_size)


def _physical(entry: int, segments: list[_Segment]) -> int:
    """The entry as a physical address. e_entry is virtual; Linux links its kernel with the two apart."""
    for segment in segments:
        if segment.virtual <= entry < segment.virtual + segment.memory_size:
            return entry - segment.virtual + segment.physical
    raise LoadError(f"the ELF file's entry {entry:#x} lies in none of its segments")


def _read(file: BufferedIOBase, offset: int, size: int) -> bytes:
    _check_whole(file, offset, size)
    file.seek(offset)
    return file.read(size)


def _check_whole(file: BufferedIOBase, offset: int, size: int) -> None:
    end = file.seek(0, SEEK_END)
    if offset + size > end:
        raise LoadError(f"the ELF file is truncated: {offset + size} bytes are needed, it has {end}")


def _machine(number: int) -> str:
    return _MACHINES.get(number, f"machine {number}")
