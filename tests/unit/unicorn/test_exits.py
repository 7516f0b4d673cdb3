"""Entering and leaving the guest: exits, hypercalls, budgets, registers."""

from __future__ import annotations

import pytest

from avmm.plugin import (
    BUDGET_EXHAUSTED,
    HALTED,
    KICKED,
    YIELDED,
    ConfigError,
    EngineOptions,
    Hypercall,
    Undefined,
)
from avmm_unicorn import create_engine
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DEADLINE, DEVICE, VECTORS, Guest, HostTime

ESR_UNDEFINED = 0x0200_0000


def test_wfi_leaves_behind_the_instruction(guest: Guest) -> None:
    guest.start(programs.WFI)
    assert guest.vcpu.enter() is HALTED
    assert guest.registers("pc") == (CODE + 4,)


@pytest.mark.parametrize("program", [programs.WFE, programs.YIELD])
def test_wfe_and_yield_give_the_time_away_and_go_on(guest: Guest, program: tuple[int, ...]) -> None:
    guest.start(program)
    assert guest.vcpu.enter() is YIELDED
    assert guest.registers("pc", "x0") == (CODE + 4, 0)
    assert guest.vcpu.enter() is HALTED
    assert guest.registers("x0") == (1,)


def test_a_hypercall_is_answered_in_place(guest: Guest) -> None:
    guest.trap.on_call = lambda call: call.result(0, call.argument(0) - 2**64 + 1)
    guest.start(programs.HVC)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.trap.calls == [(0x123, False, 10, 11), (0x45, True, 11, 11)]
    assert guest.registers("x0", "x4") == (12, 11)


def test_a_hypercall_that_does_not_exist_is_undefined(guest: Guest) -> None:
    def refuse(call: Hypercall) -> None:
        raise Undefined

    guest.trap.on_call = refuse
    guest.start(programs.HVC)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("elr_el1", "esr_el1", "x29") == (CODE + 8, ESR_UNDEFINED, 1)


@pytest.mark.parametrize("index", [-1, 18, 31, 2**70])
def test_only_x0_to_x17_belong_to_a_hypercall(guest: Guest, index: int) -> None:
    def reach(call: Hypercall) -> None:
        with pytest.raises((IndexError, OverflowError)):
            call.argument(index)
        with pytest.raises((IndexError, OverflowError)):
            call.result(index, 0)

    guest.trap.on_call = reach
    guest.start(programs.HVC)
    assert guest.vcpu.enter(DEADLINE) is HALTED


def test_an_exception_in_a_hypercall_comes_out_and_the_call_is_made_again(guest: Guest) -> None:
    def fail(call: Hypercall) -> None:
        raise ZeroDivisionError("the handler's own")

    guest.trap.on_call = fail
    guest.start(programs.HVC)
    with pytest.raises(ZeroDivisionError, match="the handler's own"):
        guest.vcpu.enter(DEADLINE)
    assert guest.registers("pc") == (CODE + 8,)
    guest.trap.on_call = lambda call: None
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert len(guest.trap.calls) == 3


def test_a_kick_before_the_entry_ends_it_before_the_first_instruction(guest: Guest) -> None:
    guest.start(programs.ADD_LOOP, x0=1)
    guest.vcpu.kick()
    guest.vcpu.kick()
    assert guest.vcpu.enter() is KICKED
    assert guest.registers("pc", "x1") == (CODE, 0)
    assert guest.vcpu.enter(DEADLINE) is HALTED


def test_a_kick_can_be_dropped(guest: Guest) -> None:
    guest.start(programs.WFI)
    guest.vcpu.kick()
    guest.vcpu.clear_kick()
    assert guest.vcpu.enter() is HALTED


def test_a_kick_from_a_trap_ends_the_entry_behind_the_access(guest: Guest) -> None:
    guest.trap.on_write = lambda address, width, value: guest.vcpu.kick()
    guest.start(programs.STORE, x1=DEVICE)
    assert guest.vcpu.enter(DEADLINE) is HALTED, "all of it is one block, and WFI ends it"
    assert guest.vcpu.enter(DEADLINE) is KICKED
    assert len(guest.trap.writes) == 4


@pytest.mark.parametrize("program", [programs.SPIN, programs.CHASE])
def test_a_budget_ends_what_would_never_end(guest: Guest, program: tuple[int, ...]) -> None:
    guest.start(program, x0=CODE + 0x200)
    guest.write(CODE + 0x200, (CODE + 0x200).to_bytes(8, "little"))
    assert guest.vcpu.enter(10_000) is BUDGET_EXHAUSTED
    assert guest.vcpu.enter(budget=1) is BUDGET_EXHAUSTED


@pytest.mark.parametrize("budget", [-1, 2**64, "1", 1.5])
def test_a_budget_is_a_number_of_instructions(guest: Guest, budget: object) -> None:
    with pytest.raises((TypeError, OverflowError)):
        guest.vcpu.enter(budget)  # type: ignore[arg-type]


def test_only_one_thread_is_in_a_guest(guest: Guest) -> None:
    def again(address: int, width: int, value: int) -> None:
        with pytest.raises(RuntimeError, match="in the guest"):
            guest.vcpu.enter()
        with pytest.raises(RuntimeError, match="in the guest"):
            guest.vcpu.close()
        with pytest.raises(RuntimeError, match="in the guest"):
            guest.engine.unmap_memory(guest.slot)

    guest.trap.on_write = again
    guest.start(programs.STORE, x1=DEVICE)
    assert guest.vcpu.enter(DEADLINE) is HALTED


def test_a_closed_vcpu_refuses(guest: Guest) -> None:
    guest.vcpu.close()
    guest.vcpu.close()
    guest.vcpu.kick()
    guest.vcpu.set_irq_line(level=True)
    with pytest.raises(RuntimeError, match="closed"):
        guest.vcpu.enter()
    with pytest.raises(RuntimeError, match="closed"):
        guest.vcpu.read_register("pc")


def test_reset_brings_the_registers_back_and_keeps_the_kick(guest: Guest) -> None:
    guest.start(programs.ADD_LOOP, x0=100)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    guest.vcpu.kick()
    guest.vcpu.reset()
    assert guest.registers("pc", "x0", "x1", "vbar_el1", "pstate") == (0, 0, 0, 0, 0x3C5)
    assert guest.vcpu.enter() is KICKED


REGISTERS = [
    *(f"x{number}" for number in range(31)),
    *("lr", "sp", "pc", "sp_el0", "sp_el1", "elr_el1", "vbar_el1", "ttbr0_el1", "tpidr_el0", "tpidr_el1", "far_el1"),
]


@pytest.mark.parametrize("name", REGISTERS)
def test_registers_are_read_as_written(guest: Guest, name: str) -> None:
    value = 0x1234_5678_9ABC_D800
    guest.vcpu.write_register(name, value)
    assert guest.vcpu.read_register(name) == value


@pytest.mark.parametrize("name", ["", "x", "x31", "x05", "x1x", "r0", "sp_el2", "nothing", "sp_elx"])
def test_a_register_that_does_not_exist_is_a_key_error(guest: Guest, name: str) -> None:
    with pytest.raises(KeyError):
        guest.vcpu.read_register(name)
    with pytest.raises(KeyError):
        guest.vcpu.write_register(name, 0)


def test_the_stack_pointer_is_banked(guest: Guest) -> None:
    guest.vcpu.write_register("sp", 0x1000)
    guest.vcpu.write_register("sp_el0", 0x2000)
    guest.vcpu.write_register("pstate", 0x3C4)  # EL1t
    assert guest.registers("sp", "sp_el0", "sp_el1") == (0x2000, 0x2000, 0x1000)
    guest.vcpu.write_register("sp", 0x3000)
    guest.vcpu.write_register("pstate", 0x3C5)
    assert guest.registers("sp", "sp_el0", "sp_el1") == (0x1000, 0x3000, 0x1000)


def test_the_program_counter_is_right_inside_a_trap(guest: Guest) -> None:
    seen: list[int] = []

    def look(address: int, width: int) -> int:
        seen.extend(guest.registers("pc", "x3"))
        return 0

    guest.trap.on_read = look
    guest.start(programs.POST_INDEX, x1=DEVICE)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert seen == [CODE + 8, 2]


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a57", "cortex-a72", "max"])
def test_every_cpu_runs(cpu: str) -> None:
    with Guest(cpu=cpu) as guest:
        guest.start(programs.ADD_LOOP, x0=10)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x1") == (55,)


def test_a_vector_is_where_vbar_says(guest: Guest) -> None:
    guest.start(programs.SVC)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("pc") == (VECTORS + 0x200 + 8,)


@pytest.mark.parametrize(
    ("arch", "cpu", "options", "message"),
    [
        ("riscv64", "cortex-a57", {}, "executes arm64"),
        ("arm64", "cortex-a5", {}, "no CPU 'cortex-a5'"),
        ("arm64", "max", {"speed": 1}, "engine.speed"),
        ("arm64", "max", {"translation_buffer_mb": 0}, "is not a whole number from 1 to 2047"),
        ("arm64", "max", {"translation_buffer_mb": "64"}, "is not a whole number from 1 to 2047"),
    ],
)
def test_mistakes_in_the_options_are_named(arch: str, cpu: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_engine(EngineOptions(arch, cpu, HostTime(), options))  # type: ignore[arg-type]


def test_an_exception_leaves_the_kick_that_came_with_it(guest: Guest) -> None:
    def kick_and_fail(call: Hypercall) -> None:
        guest.vcpu.kick()
        raise ZeroDivisionError

    guest.trap.on_call = kick_and_fail
    guest.start(programs.HVC)
    with pytest.raises(ZeroDivisionError):
        guest.vcpu.enter(DEADLINE)
    assert guest.vcpu.enter(DEADLINE) is KICKED
