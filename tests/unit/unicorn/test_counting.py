"""Instruction counts and budgets: exact, whatever is in between."""

from __future__ import annotations

import random

import pytest

from avmm.plugin import BUDGET_EXHAUSTED, HALTED, Exit, SystemRegister
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DATA, DEADLINE, DEVICE, REGISTER, Guest

ROUNDS = 40
STATE = (*(f"x{number}" for number in range(31)), "sp", "pc", "pstate", "elr_el1", "esr_el1")


def mixed(guest: Guest) -> None:
    guest.vectors(programs.RETURN_VECTOR)
    guest.trap.on_read = lambda address, width: len(guest.trap.reads)
    guest.start(programs.MIXED_LOOP, x0=ROUNDS, x7=DATA, x8=DEVICE)


def mixed_guest() -> Guest:
    guest = Guest(registers=[SystemRegister("S3_3_C15_C2_0", REGISTER, lambda: 9, None)])
    mixed(guest)
    return guest


def whole_run() -> tuple[int, tuple[int, ...]]:
    with mixed_guest() as guest:
        guest.vcpu.count_instructions(on=True)
        assert guest.vcpu.enter() is HALTED
        return guest.vcpu.instructions, guest.registers(*STATE)


def test_a_loop_is_counted_exactly(guest: Guest) -> None:
    guest.vcpu.count_instructions(on=True)
    guest.start(programs.ADD_LOOP, x0=1000)
    assert guest.vcpu.enter() is HALTED
    assert guest.vcpu.instructions == 3 * 1000 + 1


def test_nothing_is_counted_unless_asked(guest: Guest) -> None:
    guest.start(programs.ADD_LOOP, x0=1000)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.vcpu.instructions == 0
    guest.vcpu.count_instructions(on=True)
    guest.go(CODE, x0=10)
    assert guest.vcpu.enter() is HALTED
    assert guest.vcpu.instructions == 31
    guest.vcpu.count_instructions(on=False)
    guest.go(CODE, x0=10)
    assert guest.vcpu.enter() is HALTED
    assert guest.vcpu.instructions == 31


def test_instruction_by_instruction_is_the_same_as_all_at_once() -> None:
    total, state = whole_run()
    with mixed_guest() as guest:
        steps = 0
        while guest.vcpu.enter(1) is BUDGET_EXHAUSTED:
            steps += 1
        assert steps + 1 == total, "the last one is the WFI that halts"
        assert guest.registers(*STATE) == state


@pytest.mark.parametrize("seed", range(20))
def test_any_cut_is_the_same_as_none(seed: int) -> None:
    total, state = whole_run()
    choose = random.Random(seed)
    with mixed_guest() as guest:
        guest.vcpu.count_instructions(on=True)
        left = total
        last: Exit | None = None
        while left:
            budget = min(left, choose.choice((1, 2, 3, 7, 50, 511, 512, 513)))
            before = guest.vcpu.instructions
            last = guest.vcpu.enter(budget)
            assert guest.vcpu.instructions - before == budget
            left -= budget
        assert last is HALTED
        assert guest.registers(*STATE) == state


def test_a_trap_sees_the_instructions_before_it(guest: Guest) -> None:
    seen: list[int] = []

    def look(address: int, width: int) -> int:
        seen.append(guest.vcpu.instructions)
        return 0

    guest.trap.on_read = look
    guest.vcpu.count_instructions(on=True)
    guest.start(programs.LOAD, x1=DEVICE)
    assert guest.vcpu.enter() is HALTED
    assert seen == [0, 1, 2, 3, 4, 5]
    assert guest.vcpu.instructions == 7


def test_a_hypercall_sees_itself_counted(guest: Guest) -> None:
    seen: list[int] = []
    guest.trap.on_call = lambda call: seen.append(guest.vcpu.instructions)
    guest.vcpu.count_instructions(on=True)
    guest.start(programs.STEP_HVC, x3=4)
    assert guest.vcpu.enter() is HALTED
    assert seen == [1, 4, 7, 10]


def test_an_instruction_that_faults_is_not_counted(guest: Guest) -> None:
    guest.vectors(programs.SKIP_VECTOR)
    guest.vcpu.count_instructions(on=True)
    guest.start(programs.UNDEFINED)
    assert guest.vcpu.enter() is HALTED
    assert guest.vcpu.instructions == 1 + len(programs.SKIP_VECTOR) + 2


def test_a_handler_that_fails_costs_no_instruction(guest: Guest) -> None:
    def fail(address: int, width: int) -> int:
        raise ZeroDivisionError

    guest.trap.on_read = fail
    guest.vcpu.count_instructions(on=True)
    guest.start(programs.POST_INDEX, x1=DEVICE)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            guest.vcpu.enter()
        assert guest.vcpu.instructions == 2
