"""Memory-mapped I/O: what the handler sees, and what the guest sees of its answer."""

from __future__ import annotations

import pytest

from avmm.plugin import HALTED
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DEADLINE, DEVICE, Guest


def test_reads_have_their_width_and_address(guest: Guest) -> None:
    guest.trap.on_read = lambda address, width: 0xFEDC_BA98_8765_4380 + (address & 0xFF)
    guest.start(programs.LOAD, x1=DEVICE)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    offsets = [(address - DEVICE, width) for address, width in guest.trap.reads]
    assert offsets == [(0, 1), (2, 2), (4, 4), (8, 8), (16, 1), (20, 4)]
    assert guest.registers("x2", "x3", "x4", "x5") == (0x80, 0x4382, 0x8765_4384, 0xFEDC_BA98_8765_4388)
    assert guest.registers("x6", "x7") == (0xFFFF_FFFF_FFFF_FF90, 0xFFFF_FFFF_8765_4394)


def test_writes_carry_no_more_than_their_width(guest: Guest) -> None:
    guest.start(programs.STORE, x1=DEVICE, x2=0xFEDC_BA98_8765_4321)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.trap.writes == [
        (DEVICE, 1, 0x21),
        (DEVICE + 2, 2, 0x4321),
        (DEVICE + 4, 4, 0x8765_4321),
        (DEVICE + 8, 8, 0xFEDC_BA98_8765_4321),
    ]


def test_a_pair_is_two_accesses(guest: Guest) -> None:
    guest.trap.on_read = lambda address, width: address
    guest.start(programs.PAIR, x1=DEVICE, x2=1, x3=2)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.trap.writes == [(DEVICE, 8, 1), (DEVICE + 8, 8, 2)]
    assert guest.registers("x4", "x5") == (DEVICE + 16, DEVICE + 24)


def test_an_unaligned_access_is_made_of_aligned_ones(guest: Guest) -> None:
    guest.trap.on_read = lambda address, width: 0x1111_1111 * (1 + (address >> 2 & 1))
    guest.start(programs.UNALIGNED, x1=DEVICE, x3=0x4433_2211)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert all(address % width == 0 for address, width in guest.trap.reads)
    assert guest.registers("x2") == (0x2222_1111,)
    assert {address: value for address, _, value in guest.trap.writes} == {
        DEVICE + 6: 0x11,
        DEVICE + 7: 0x22,
        DEVICE + 8: 0x33,
        DEVICE + 9: 0x44,
    }


@pytest.mark.parametrize("answer", [-1, 2**64, 2**100 + 5])
def test_an_answer_out_of_range_is_cut(guest: Guest, answer: int) -> None:
    guest.trap.on_read = lambda address, width: answer
    guest.start(programs.LOAD, x1=DEVICE)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x2", "x5") == (answer % 2**8, answer % 2**64)


def test_an_answer_that_is_no_number_comes_out(guest: Guest) -> None:
    guest.trap.on_read = lambda address, width: "zero"  # type: ignore[assignment, return-value]
    guest.start(programs.LOAD, x1=DEVICE)
    with pytest.raises(TypeError):
        guest.vcpu.enter(DEADLINE)


def test_an_exception_comes_out_and_the_access_is_made_again(guest: Guest) -> None:
    def fail(address: int, width: int) -> int:
        raise ZeroDivisionError("the handler's own")

    guest.trap.on_read = fail
    guest.start(programs.POST_INDEX, x1=DEVICE)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError, match="the handler's own"):
            guest.vcpu.enter(DEADLINE)
        assert guest.registers("pc", "x1", "x3") == (CODE + 8, DEVICE, 2)
    guest.trap.on_read = lambda address, width: 7
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x1", "x2", "x3", "x29") == (DEVICE + 8, 7, 3, 0)


def test_a_store_that_fails_is_made_again(guest: Guest) -> None:
    def fail(address: int, width: int, value: int) -> None:
        raise KeyboardInterrupt

    guest.trap.on_write = fail
    guest.start(programs.STORE_PRE_INDEX, x1=DEVICE)
    with pytest.raises(KeyboardInterrupt):
        guest.vcpu.enter(DEADLINE)
    assert guest.registers("pc", "x1", "x3") == (CODE + 4, DEVICE, 1)
    guest.trap.on_write = lambda address, width, value: None
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x1", "x3") == (DEVICE + 8, 2)
