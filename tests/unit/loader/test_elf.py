"""ELF executables: where their segments go, and every way in which they cannot be loaded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avmm.errors import LoadError
from avmm.loader import LoadedKernel
from avmm.memory import GuestMemory
from tests.unit.loader.loading import load, outcome, refusal
from tests.unit.loader.ram import AARCH64, RAM, SIZE


@dataclass
class Segment:
    physical: int
    data: bytes = b"code"
    memory_size: int | None = None
    virtual: int | None = None
    kind: int = 1


def elf(*segments: Segment, entry: int = RAM, machine: int = AARCH64, kind: int = 2, bits: int = 2, order: int = 1) -> bytes:
    """An ELF file with its segments one after the other behind the program headers."""
    at = 64 + 56 * len(segments)
    headers, body = b"", b""
    for one in segments:
        virtual = one.physical if one.virtual is None else one.virtual
        memory_size = len(one.data) if one.memory_size is None else one.memory_size
        headers += struct.pack("<IIQQQQQQ", one.kind, 5, at + len(body), virtual, one.physical, len(one.data), memory_size, 4096)
        body += one.data
    ident = b"\x7fELF" + bytes((bits, order, 1)) + bytes(9)
    return (
        ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, entry, 64, 0, 0, 64, 56, len(segments), 64, 0, 0) + headers + body
    )


@pytest.fixture
def file() -> Path:
    return Path("guest.elf")


def test_segments_go_to_their_physical_addresses_and_bss_is_zero(file: Path, memory: GuestMemory) -> None:
    memory.write(RAM, b"\xff" * SIZE)
    bss = (1 << 19) + 1
    file.write_bytes(elf(Segment(RAM + 0x1000, b"text"), Segment(RAM + 0x2000, b"data", 4 + bss), Segment(0, kind=4)))
    with pytest.raises(LoadError, match="entry 0x40000000 lies in none of its segments"):
        load(file, memory)
    file.write_bytes(
        elf(Segment(RAM + 0x1000, b"text"), Segment(RAM + 0x2000, b"data", 4 + bss), Segment(0, kind=4), entry=RAM + 0x1002)
    )
    assert load(file, memory) == LoadedKernel(RAM + 0x1002, RAM + 0x2004 + bss, "elf")
    assert memory.read(RAM + 0xFFF, 6) == b"\xfftext\xff"
    assert memory.read(RAM + 0x2000, bss + 5) == b"data" + bytes(bss) + b"\xff"


def test_a_virtual_entry_becomes_physical(file: Path, memory: GuestMemory) -> None:
    virtual = 0xFFFF_8000_0800_0000
    file.write_bytes(elf(Segment(RAM + 0x8000, b"kernel", virtual=virtual), entry=virtual + 4))
    assert load(file, memory).entry == RAM + 0x8004


@pytest.mark.parametrize(("entry", "found"), [(-1, False), (0, True), (7, True), (8, False)])
def test_the_entry_lies_in_a_segment(file: Path, memory: GuestMemory, entry: int, found: bool) -> None:
    file.write_bytes(elf(Segment(RAM + 0x1000, memory_size=8), entry=RAM + 0x1000 + entry, kind=3))
    if found:
        assert load(file, memory).entry == RAM + 0x1000 + entry
    else:
        with pytest.raises(LoadError, match="lies in none of its segments"):
            load(file, memory)


@pytest.mark.parametrize(("machine", "name"), [(3, "x86"), (8, "machine 8"), (40, "32-bit ARM"), (62, "x86-64"), (243, "RISC-V")])
def test_machines_have_names(file: Path, memory: GuestMemory, machine: int, name: str) -> None:
    file.write_bytes(elf(Segment(RAM), machine=machine))
    assert refusal(file, memory) == f"guest.elf: the ELF file is for {name}, not for AArch64"


def test_the_test_files_are_elf_to_others_too(file: Path) -> None:
    file.write_bytes(elf(Segment(RAM, b"text", 8)))
    with file.open("rb") as stream:
        (segment,) = ELFFile(stream).iter_segments()
        assert (segment["p_paddr"], segment["p_filesz"], segment["p_memsz"], segment.data()) == (RAM, 4, 8, b"text")


RAM_RANGE = f"guest memory ({RAM:#x}-{RAM + SIZE - 1:#x})"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (elf(Segment(RAM), machine=40, bits=1), "guest.elf: the ELF file is 32-bit little-endian, not 64-bit little-endian"),
        (elf(Segment(RAM), order=2), "guest.elf: the ELF file is 64-bit big-endian, not 64-bit little-endian"),
        (elf(Segment(RAM), bits=1, order=2), "guest.elf: the ELF file is 32-bit big-endian, not 64-bit little-endian"),
        (elf(Segment(RAM), kind=1), "guest.elf: the ELF file is not an executable (e_type 1)"),
        (elf(), "guest.elf: the ELF file has no segment to load"),
        (elf(Segment(RAM, memory_size=0)), "guest.elf: the ELF file has no segment to load"),
        (elf(Segment(RAM, kind=2)), "guest.elf: the ELF file has no segment to load"),
        (
            elf(Segment(0)),
            f"guest.elf: an ELF segment needs 0x4 bytes at 0x0, which {RAM_RANGE} does not have",
        ),
        (
            elf(Segment(RAM + SIZE - 8, memory_size=9)),
            f"guest.elf: an ELF segment needs 0x9 bytes at {RAM + SIZE - 8:#x}, which {RAM_RANGE} does not have",
        ),
        (
            elf(Segment(RAM, memory_size=1 << 63)),
            f"guest.elf: an ELF segment needs 0x8000000000000000 bytes at 0x40000000, which {RAM_RANGE} does not have",
        ),
        (elf(Segment(RAM, memory_size=3)), "guest.elf: the ELF segment at 0x40000000 has more bytes in the file than in memory"),
        (elf(Segment(RAM))[:-1], "guest.elf: the ELF file is truncated: 124 bytes are needed, it has 123"),
        (elf(Segment(RAM))[:100], "guest.elf: the ELF file is truncated: 120 bytes are needed, it has 100"),
        (elf(Segment(RAM))[:40], "guest.elf: the ELF file is truncated: 64 bytes are needed, it has 40"),
        (
            elf(Segment(RAM))[:54] + b"\x20\x00" + elf(Segment(RAM))[56:],
            "guest.elf: the ELF file's program headers are 32 bytes each, not 56",
        ),
    ],
)
def test_a_file_that_cannot_be_loaded_says_why_in_one_line(file: Path, memory: GuestMemory, content: bytes, line: str) -> None:
    file.write_bytes(content)
    assert refusal(file, memory) == line


def test_nothing_is_written_when_a_segment_does_not_fit(file: Path, memory: GuestMemory) -> None:
    file.write_bytes(elf(Segment(RAM, b"text"), Segment(RAM + SIZE)))
    with pytest.raises(LoadError):
        load(file, memory)
    assert memory.read(RAM, 4) == bytes(4)


SOUND = elf(Segment(RAM, b"text"), Segment(RAM + 0x1000, b"data", 64))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(SOUND) - 1))
def test_every_truncation_is_a_load_error(file: Path, memory: GuestMemory, length: int) -> None:
    file.write_bytes(SOUND[:length])
    if length >= 4:
        with pytest.raises(LoadError):
            load(file, memory)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(4, len(SOUND) - 1), st.integers(0, 255)), max_size=6))
def test_a_damaged_file_loads_or_is_a_load_error(file: Path, memory: GuestMemory, damage: list[tuple[int, int]]) -> None:
    content = bytearray(SOUND)
    for position, value in damage:
        content[position] = value
    file.write_bytes(content)
    assert len(outcome(file, memory).splitlines()) == 1
