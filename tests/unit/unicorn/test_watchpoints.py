"""The guest's own watchpoints: Arm DDI 0487, "Watchpoint exceptions"."""

from __future__ import annotations

import pytest

from avmm.plugin import HALTED
from tests.unit.unicorn import parallel_programs, programs
from tests.unit.unicorn.guest import CODE, DATA, DEADLINE, Guest

ENABLE, EL1, EL0, LOADS, STORES, EIGHT_BYTES = 1, 1 << 1, 2 << 1, 1 << 3, 2 << 3, 0xFF << 5
LOW_WORD, HIGH_WORD = 0x0F << 5, 0xF0 << 5
WATCHPOINT_SAME_LEVEL = 0x35 << 26 | 1 << 25 | 0x22
WRITE = 1 << 6
STORE, LOAD = CODE + 8 * 4, CODE + 9 * 4


@pytest.mark.parametrize(
    ("control", "stopped_at", "syndrome"),
    [
        (ENABLE | EL1 | LOADS | EIGHT_BYTES, LOAD, WATCHPOINT_SAME_LEVEL),
        (ENABLE | EL1 | STORES | EIGHT_BYTES, STORE, WATCHPOINT_SAME_LEVEL | WRITE),
        (ENABLE | EL1 | LOADS | STORES | HIGH_WORD, STORE, WATCHPOINT_SAME_LEVEL | WRITE),
    ],
)
def test_a_watched_access_is_stopped_before_it_is_made(guest: Guest, control: int, stopped_at: int, syndrome: int) -> None:
    guest.write(DATA, bytes(16))
    guest.start(programs.WATCH, x0=0x55, x1=DATA, x2=control)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x29", "esr_el1", "elr_el1", "far_el1") == (1, syndrome, stopped_at, DATA + 4)
    assert guest.read64(DATA + 8) == 0x55, "the doubleword behind it is not watched"
    assert guest.read64(DATA) == (0 if stopped_at == STORE else 0x55 << 32)


def test_a_page_that_was_accessed_before_is_watched_too(guest: Guest) -> None:
    load = 0xF9400024  # ldr x4, [x1]
    guest.start((load, *programs.WATCH), x0=0x55, x1=DATA, x2=ENABLE | EL1 | LOADS | EIGHT_BYTES)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x29", "elr_el1") == (1, LOAD + 4)


@pytest.mark.parametrize(("kinds", "write"), [(LOADS, 0), (STORES, WRITE), (LOADS | STORES, 0)])
@pytest.mark.parametrize("parallel", [False, True])
def test_atomics_are_watched_too(parallel: bool, kinds: int, write: int) -> None:
    with Guest(cpu="max", parallel=parallel) as guest:
        guest.start(parallel_programs.WATCH_ATOMIC, x0=0x55, x1=DATA, x2=ENABLE | EL1 | kinds | EIGHT_BYTES)
        assert guest.vcpu.enter() is HALTED
        assert guest.registers("x29", "esr_el1", "elr_el1") == (1, WATCHPOINT_SAME_LEVEL | write, CODE + 7 * 4)
        assert guest.read64(DATA) == 0


@pytest.mark.parametrize(
    "control",
    [EL1 | LOADS | EIGHT_BYTES, ENABLE | EL0 | LOADS | EIGHT_BYTES, ENABLE | EL1 | LOADS | LOW_WORD],
)
def test_what_is_not_watched_goes_on(guest: Guest, control: int) -> None:
    guest.start(programs.WATCH, x0=0x55, x1=DATA, x2=control)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x5", "x29") == (1, 0)


def test_a_reset_takes_watchpoints_away(guest: Guest) -> None:
    guest.start(programs.WATCH, x1=DATA, x2=ENABLE | EL1 | LOADS | EIGHT_BYTES)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    guest.vcpu.reset()
    guest.load(CODE, programs.LOAD_WFI)
    guest.go(CODE, x1=DATA + 4)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1") == (0,)
