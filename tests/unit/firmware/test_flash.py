"""The flash's command set, cycle by cycle, and what hypothesis makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm_firmware.cfi import BUFFER_WORDS
from avmm_firmware.flash import Awaits, Flash, Reads
from avmm_firmware.status import Status

SECTOR = 4096
SIZE = 4 * SECTOR
READY, PROTECTED = Status.READY, Status.PROTECTED
PROGRAM_ERROR, ERASE_ERROR, SEQUENCE_ERROR = Status.PROGRAM_ERROR, Status.ERASE_ERROR, Status.SEQUENCE_ERROR


class Bench:
    """A bank of four small sectors, all erased, and what it told of."""

    def __init__(self, *, read_only: bool = False) -> None:
        self.memory = bytearray(b"\xff" * SIZE)
        self.direct = True
        self.stored: list[tuple[int, bytes]] = []
        self.broken = False
        self.flash = Flash(self.memory, self._set_direct, self._store, read_only=read_only, sector_size=SECTOR)

    def _set_direct(self, direct: bool) -> None:
        self.direct = direct

    def _store(self, offset: int, data: bytes) -> None:
        if self.broken:
            raise OSError("no space")
        self.stored.append((offset, data))

    def cycles(self, *values: int, at: int = 0) -> None:
        """Stores of a word each, a command on both chips."""
        for value in values:
            self.flash.write(at, 4, value * 0x0001_0001)

    @property
    def status(self) -> int:
        """As the guest finds it; both chips answer alike."""
        self.cycles(0x70)
        word = self.flash.read(0, 4)
        assert word & 0xFFFF == word >> 16
        return word & 0xFFFF


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_is_an_array_that_is_read_directly(bench: Bench) -> None:
    bench.memory[8:16] = bytes(range(8))
    assert bench.direct
    assert [bench.flash.read(8, width) for width in (1, 2, 4, 8)] == [0, 0x100, 0x0302_0100, 0x0706_0504_0302_0100]
    assert bench.flash.read(9, 2) == 0x0201


@pytest.mark.parametrize("command", [0x20, 0x40, 0x10, 0x60, 0x70, 0x90, 0x98, 0xE8])
def test_while_it_answers_a_command_its_reads_are_not_direct(bench: Bench, command: int) -> None:
    bench.cycles(command)
    assert not bench.direct
    bench.flash.reset()
    assert bench.direct
    assert bench.flash.read(0, 4) == 0xFFFF_FFFF


@pytest.mark.parametrize("command", [0xFF, 0xF0, 0x00])
def test_back_to_the_array(bench: Bench, command: int) -> None:
    bench.cycles(0x90, command)
    assert bench.direct
    assert bench.flash.read(0, 4) == 0xFFFF_FFFF


def test_an_unknown_command_leaves_the_array_readable(bench: Bench) -> None:
    """Firmware that runs from the flash and stores there by mistake goes on running."""
    bench.cycles(0x90, 0xAB)
    assert bench.direct
    assert bench.flash.rejected == 1
    assert bench.status == READY


def test_identifiers(bench: Bench) -> None:
    bench.cycles(0x90)
    assert [bench.flash.read(offset, 4) for offset in (0, 4, 8, SECTOR, SECTOR + 4)] == [
        0x0089_0089,
        0x0018_0018,
        0,
        0x0089_0089,
        0x0018_0018,
    ]
    assert bench.flash.read(0, 8) == 0x0018_0018_0089_0089


def test_the_query_table(bench: Bench) -> None:
    """JESD68.01: each chip has half of the bank."""
    bench.cycles(0x98, at=0x55 * 4)
    chips = [bench.flash.read(4 * word, 4) for word in range(0x40)]
    table = bytes(word & 0xFF for word in chips)
    assert chips == [value * 0x0001_0001 for value in table]
    assert table[0x10:0x13] == b"QRY"
    assert table[0x13:0x15] == b"\x01\x00", "Intel/Sharp extended command set"
    primary = int.from_bytes(table[0x15:0x17], "little")
    assert table[primary : primary + 3] == b"PRI"
    assert 1 << table[0x27] == SIZE // 2
    assert 1 << int.from_bytes(table[0x2A:0x2C], "little") == 2 * BUFFER_WORDS
    assert table[0x2C] == 1
    assert int.from_bytes(table[0x2D:0x2F], "little") + 1 == SIZE // SECTOR
    assert int.from_bytes(table[0x2F:0x31], "little") * 256 == SECTOR // 2
    assert [bench.flash.read(0x41 + 4 * n, 1) for n in range(3)] == [0, 0, 0], "the upper byte of the lower chip"
    assert [bench.flash.read(0x42 + 4 * n, 1) for n in range(3)] == list(b"QRY"), "the upper chip"


@pytest.mark.parametrize("command", [0x40, 0x10])
def test_programming_clears_bits_and_sets_none(bench: Bench, command: int) -> None:
    bench.cycles(command)
    bench.flash.write(8, 4, 0x1234_5678)
    assert bench.status == READY
    bench.cycles(command)
    bench.flash.write(8, 4, 0xFFFF_0000)
    bench.cycles(0xFF)
    assert bench.flash.read(8, 4) == 0x1234_0000
    assert bench.stored == [(8, bytes.fromhex("78563412")), (8, bytes.fromhex("00003412"))]
    assert bench.flash.programmed_bytes == 8
    assert bench.memory.count(0xFF) == SIZE - 4


def test_erasing_a_sector_leaves_the_others(bench: Bench) -> None:
    bench.memory[:] = bytes(SIZE)
    bench.cycles(0x20, 0xD0, at=SECTOR + 100)
    assert bench.status == READY
    assert bench.memory == bytes(SECTOR) + b"\xff" * SECTOR + bytes(2 * SECTOR)
    assert bench.stored == [(SECTOR, b"\xff" * SECTOR)]
    assert bench.flash.erased_sectors == 1


def test_a_buffered_program_happens_when_it_is_confirmed(bench: Bench) -> None:
    bench.cycles(0xE8)
    assert bench.flash.read(0, 4) == READY * 0x0001_0001
    bench.cycles(3 - 1)
    for index in range(3):
        bench.flash.write(0x100 + 4 * index, 4, index)
    assert bench.stored == []
    bench.cycles(0xD0)
    assert bench.status == READY
    assert bench.memory[0x100:0x10C] == bytes.fromhex("000000000100000002000000")
    assert bench.flash.programmed_bytes == 12


def test_a_doubleword_fills_two_words_of_the_buffer(bench: Bench) -> None:
    bench.cycles(0xE8, 2 - 1)
    bench.flash.write(0, 8, 0x1122_3344_5566_7788)
    bench.cycles(0xD0)
    bench.cycles(0xFF)
    assert bench.flash.read(0, 8) == 0x1122_3344_5566_7788


def test_a_buffer_of_the_most_words(bench: Bench) -> None:
    bench.cycles(0xE8, BUFFER_WORDS - 1)  # at the start of another sector
    for index in range(BUFFER_WORDS):
        bench.flash.write(SECTOR + 4 * index, 4, index)
    bench.cycles(0xD0)
    assert bench.status == READY
    assert bench.flash.programmed_bytes == 4 * BUFFER_WORDS


@pytest.mark.parametrize(
    ("cycles", "error"),
    [
        ((0x20, 0x20), SEQUENCE_ERROR),
        ((0x60, 0x20), SEQUENCE_ERROR),
        ((0xE8, BUFFER_WORDS), SEQUENCE_ERROR),
        ((0xE8, 0, 0, 0xFF), SEQUENCE_ERROR),
        ((0x60, 0x01), 0),
        ((0x60, 0xD0), 0),
        ((0xB0, 0xD0), 0),
    ],
)
def test_the_order_of_cycles(bench: Bench, cycles: tuple[int, ...], error: int) -> None:
    bench.cycles(*cycles)
    assert bench.status == READY | error
    assert bench.stored == []
    assert bench.flash.rejected == bool(error)
    bench.cycles(0x50)
    assert bench.status == READY, "cleared"


@pytest.mark.parametrize(("first", "offset"), [(0, SECTOR), (0, SECTOR - 2), (SECTOR, SECTOR - 2), (SECTOR, 0)])
def test_a_buffer_stays_in_its_window(bench: Bench, first: int, offset: int) -> None:
    bench.cycles(0xE8, 1)
    bench.flash.write(first, 4, 0)
    bench.flash.write(offset, 4, 0)
    assert bench.flash.rejected == 1
    assert bench.status == READY | SEQUENCE_ERROR
    bench.cycles(0xD0)
    assert bench.stored == []


@pytest.mark.parametrize(
    ("cycles", "error"), [((0x20, 0xD0), ERASE_ERROR), ((0x40, 0), PROGRAM_ERROR), ((0xE8, 0, 0, 0xD0), PROGRAM_ERROR)]
)
def test_nothing_changes_that_is_read_only(cycles: tuple[int, ...], error: int) -> None:
    bench = Bench(read_only=True)
    bench.memory[:] = bytes(range(256)) * (SIZE // 256)
    before = bytes(bench.memory)
    bench.cycles(*cycles)
    assert bench.status == READY | PROTECTED | error
    assert (bench.memory, bench.stored) == (before, [])


@pytest.mark.parametrize("cycles", [(0x20, 0xD0), (0x40, 0)])
def test_what_cannot_be_kept_does_not_change(bench: Bench, cycles: tuple[int, ...]) -> None:
    bench.memory[:] = b"\x55" * SIZE
    bench.broken = True
    bench.cycles(*cycles)
    assert bench.status == READY | (ERASE_ERROR if cycles[0] == 0x20 else PROGRAM_ERROR)
    assert bench.memory == b"\x55" * SIZE
    assert (bench.flash.store_errors, bench.flash.erased_sectors, bench.flash.programmed_bytes) == (1, 0, 0)


_COMMANDS = (0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xB0, 0xD0, 0xE8, 0xFF)
_WIDTHS = st.sampled_from([1, 2, 4, 8])
_VALUES = st.one_of(st.sampled_from(_COMMANDS), st.integers(0, 2**64 - 1), st.integers(0, 4))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, SIZE - 8), _WIDTHS, _VALUES), max_size=60), st.booleans(), st.booleans())
def test_whatever_the_guest_stores(cycles: list[tuple[int, int, int]], read_only: bool, broken: bool) -> None:
    """The array holds what was stored and nothing else, loads have their width, and memory is direct when it is the array."""
    bench = Bench(read_only=read_only)
    bench.broken = broken
    for offset, width, value in cycles:
        before = bytes(bench.memory)
        bench.stored.clear()
        bench.flash.write(offset, width, value & (1 << 8 * width) - 1)
        expected = bytearray(before)
        for start, data in bench.stored:
            expected[start : start + len(data)] = data
        assert bench.memory == expected
        assert not bench.stored or not (read_only or broken)
        assert bench.direct is (bench.flash._reads is Reads.ARRAY)
        assert bench.flash._awaits is Awaits.COMMAND or not bench.direct
        assert 0 <= bench.flash.read(offset, width) < 1 << 8 * width
    bench.flash.reset()
    assert bench.direct
    assert bench.flash.read(0, 8) == int.from_bytes(bench.memory[:8], "little")
    bench.broken, bench.flash = False, Flash(bench.memory, bench._set_direct, bench._store, sector_size=SECTOR)
    bench.cycles(0x20, 0xD0, 0x40, 0x5A, 0xFF)
    assert bench.flash.read(0, 4) == 0x005A_005A
