"""The interrupt lines."""

from __future__ import annotations

import threading

import pytest

from avmm.plugin import BUDGET_EXHAUSTED, HALTED, KICKED, Hypercall, SystemRegister
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DEADLINE, DEVICE, REGISTER, VECTORS, Guest


def test_a_masked_interrupt_waits(guest: Guest) -> None:
    guest.vcpu.set_irq_line(level=True)
    guest.start(programs.WFI)
    assert guest.vcpu.enter(100) is BUDGET_EXHAUSTED, "WFI does not wait while an interrupt is pending"
    assert guest.registers("x29", "pc") == (0, CODE + 4)


def test_an_unmasked_interrupt_is_taken(guest: Guest) -> None:
    guest.vcpu.set_irq_line(level=True)
    guest.start(programs.UNMASK)
    guest.vectors(programs.SPIN)
    assert guest.vcpu.enter(DEADLINE) is BUDGET_EXHAUSTED
    assert guest.registers("pc", "elr_el1", "x0") == (VECTORS + 0x280, CODE + 4, 0)


UNMASKING = (programs.UNMASK_BY_CLEARING, programs.UNMASK_BY_WRITING, programs.UNMASK_BY_RETURNING)


def drop_pins_when_taken(guest: Guest) -> None:
    def drop(call: Hypercall) -> None:
        guest.vcpu.set_irq_line(level=False)
        guest.vcpu.set_fiq_line(level=False)

    guest.vectors(programs.CALLING_VECTOR)
    guest.trap.on_call = drop


@pytest.mark.parametrize("program", UNMASKING)
@pytest.mark.parametrize("pin", ["irq", "fiq"])
def test_an_interrupt_is_taken_where_it_is_unmasked(guest: Guest, program: tuple[int, ...], pin: str) -> None:
    # Without a budget: who counts instructions looks after every block in any case.
    if pin == "fiq":
        program = tuple({0xD50342FF: 0xD50341FF, 0xD28068A2: 0xD28070A2}.get(word, word) for word in program)  # the F bit
    drop_pins_when_taken(guest)
    guest.start(program, x0=1000)
    assert guest.vcpu.enter() is HALTED, "what comes next is translated: it is reached without leaving translated code"
    guest.go(CODE, pstate=0x3C5, x0=1000)
    (guest.vcpu.set_irq_line if pin == "irq" else guest.vcpu.set_fiq_line)(level=True)
    assert guest.vcpu.enter() is HALTED
    assert guest.registers("x0", "x29", "elr_el1") == (1000, 1, CODE + 4 * (len(program) - 3))


@pytest.mark.parametrize("level", [False, True])
@pytest.mark.parametrize("program", [programs.WRITE_AND_UNMASK, programs.UNMASK_AND_WRITE])
def test_a_pin_driven_by_a_register_write_is_as_it_was_left(program: tuple[int, ...], level: bool) -> None:
    def drive(value: int) -> None:
        guest.vcpu.set_irq_line(level=not level)
        guest.vcpu.set_irq_line(level=level)

    register = SystemRegister("S3_3_C15_C2_0", REGISTER, None, drive)
    with Guest(registers=[register]) as guest:
        drop_pins_when_taken(guest)
        guest.start(program, x0=1000)
        assert guest.vcpu.enter() is HALTED
        guest.go(CODE, pstate=0x3C5, x0=1000, x29=0)
        assert guest.vcpu.enter() is HALTED
        assert guest.registers("x0", "x29") == ((1000, 1) if level else (0, 0))


def test_a_line_that_falls_before_it_is_unmasked_was_never_there(guest: Guest) -> None:
    guest.vcpu.set_irq_line(level=True)
    guest.vcpu.set_irq_line(level=False)
    guest.start(programs.UNMASK_WFI)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("pc", "x29") == (CODE + 8, 0)


def test_wfi_is_left_by_an_interrupt(guest: Guest) -> None:
    guest.start(programs.UNMASK_WFI)
    guest.vectors(programs.RETURN_VECTOR)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    guest.vcpu.set_irq_line(level=True)
    assert guest.vcpu.enter(100) is BUDGET_EXHAUSTED, "the level stays up: taken again and again"
    assert guest.registers("elr_el1", "x0") == (CODE + 8, 0)
    guest.vcpu.set_irq_line(level=False)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x0") == (1,)


@pytest.mark.parametrize("store_is_first", [True, False])
def test_a_line_raised_by_a_store_is_seen_at_the_barrier(guest: Guest, store_is_first: bool) -> None:
    guest.trap.on_write = lambda address, width, value: guest.vcpu.set_irq_line(level=True)
    guest.start(programs.IRQ_FROM_STORE, x1=DEVICE)
    guest.vectors(programs.SPIN)
    if not store_is_first:
        guest.vcpu.set_irq_line(level=True)
        guest.vcpu.set_irq_line(level=False)
    assert guest.vcpu.enter(DEADLINE) is BUDGET_EXHAUSTED
    assert guest.registers("pc", "elr_el1", "x0") == (VECTORS + 0x280, CODE + 12, 0)


def test_the_line_survives_a_reset(guest: Guest) -> None:
    guest.vcpu.set_irq_line(level=True)
    guest.vcpu.reset()
    guest.vcpu.write_register("vbar_el1", VECTORS)
    guest.start(programs.UNMASK)
    guest.vectors(programs.SPIN)
    assert guest.vcpu.enter(DEADLINE) is BUDGET_EXHAUSTED
    assert guest.registers("pc") == (VECTORS + 0x280,)


def test_an_unmasked_fast_interrupt_is_taken(guest: Guest) -> None:
    guest.vcpu.set_fiq_line(level=True)
    guest.start(programs.UNMASK_FIQ)
    guest.vectors(programs.SPIN)
    assert guest.vcpu.enter(DEADLINE) is BUDGET_EXHAUSTED
    assert guest.registers("pc", "elr_el1", "x0") == (VECTORS + 0x300, CODE + 4, 0)


@pytest.mark.parametrize(("irq", "program"), [(False, programs.UNMASK), (True, programs.UNMASK_FIQ)])
def test_each_line_has_its_own_mask(guest: Guest, irq: bool, program: tuple[int, ...]) -> None:
    (guest.vcpu.set_irq_line if irq else guest.vcpu.set_fiq_line)(level=True)
    guest.start(program)
    guest.vectors(programs.SPIN)
    assert guest.vcpu.enter(101) is BUDGET_EXHAUSTED
    assert guest.registers("x0", "elr_el1") == (50, 0)


def test_a_fast_interrupt_goes_before_the_other(guest: Guest) -> None:
    guest.vcpu.set_irq_line(level=True)
    guest.vcpu.set_fiq_line(level=True)
    guest.start((0xD50343FF, *programs.SPIN))  # msr daifclr, #3
    guest.vectors(programs.SPIN)
    assert guest.vcpu.enter(DEADLINE) is BUDGET_EXHAUSTED
    assert guest.registers("pc") == (VECTORS + 0x300,)


def test_wfi_is_left_by_a_fast_interrupt_that_is_masked(guest: Guest) -> None:
    guest.start(programs.WFI)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    guest.start(programs.WFI)
    guest.vcpu.set_fiq_line(level=True)
    assert guest.vcpu.enter(100) is BUDGET_EXHAUSTED
    guest.vcpu.set_fiq_line(level=False)


def test_one_line_does_not_take_the_other_down(guest: Guest) -> None:
    guest.vcpu.set_fiq_line(level=True)
    guest.vcpu.set_irq_line(level=True)
    guest.vcpu.set_irq_line(level=False)
    guest.start(programs.UNMASK_FIQ)
    guest.vectors(programs.SPIN)
    assert guest.vcpu.enter(DEADLINE) is BUDGET_EXHAUSTED
    assert guest.registers("pc") == (VECTORS + 0x300,)


@pytest.mark.parametrize("parallel", [False, True])
def test_a_pin_driven_on_another_thread_reaches_the_running_guest(parallel: bool) -> None:
    """Again and again, however the race falls, and without a kick: none is lost."""
    interrupts = 3000
    taken = threading.Semaphore(1)
    lost: list[int] = []
    with Guest(parallel=parallel) as guest:
        assert guest.vcpu.live_pins

        def acknowledge(address: int, width: int, value: int) -> None:
            guest.vcpu.set_irq_line(level=False)
            taken.release()

        def device() -> None:
            for number in range(interrupts):
                if not taken.acquire(timeout=60):
                    lost.append(number)
                    break
                guest.vcpu.set_irq_line(level=True)
            if not lost and not taken.acquire(timeout=60):
                lost.append(interrupts)
            guest.vcpu.kick()

        guest.trap.on_write = acknowledge
        guest.start(programs.UNMASK, x1=DEVICE)
        guest.vectors(programs.STORE_VECTOR)
        thread = threading.Thread(target=device)
        thread.start()
        assert guest.vcpu.enter() is KICKED
        thread.join()
        assert (lost, len(guest.trap.writes)) == ([], interrupts)
