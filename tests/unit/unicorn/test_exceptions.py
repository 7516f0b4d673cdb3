"""What the guest does wrong comes back to it as its own exception, with the syndrome the architecture names.

Section numbers of Arm DDI 0487: "ESR_EL1, Exception Syndrome Register".
"""

from __future__ import annotations

import pytest

from avmm.plugin import BUDGET_EXHAUSTED, HALTED, ExternalAbort, Undefined
from avmm_unicorn.vcpu import UnicornVcpu
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DATA, DEADLINE, DEVICE, FUNCTION, RAM, VECTORS, Guest

IL = 1 << 25
EC_UNKNOWN, EC_FP, EC_SVC = 0x00 << 26, 0x07 << 26, 0x15 << 26
EC_FETCH, EC_PC, EC_DATA, EC_BRK = 0x21 << 26, 0x22 << 26, 0x25 << 26, 0x3C << 26
WRITE = 1 << 6
EXTERNAL = 0x10
NOWHERE = 0x7000_0000


def refuse_read(address: int, width: int) -> int:
    raise ExternalAbort


def refuse_write(address: int, width: int, value: int) -> None:
    raise ExternalAbort


def test_svc_from_el1(guest: Guest) -> None:
    guest.start(programs.SVC)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "elr_el1", "spsr_el1", "x0") == (EC_SVC | IL | 0x5A5, CODE + 8, 0x3C5, 1)


def test_svc_from_el0_takes_the_vector_of_the_lower_level(guest: Guest) -> None:
    guest.start(programs.EL0_SVC, x1=CODE + 12)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "elr_el1", "spsr_el1") == (EC_SVC | IL | 7, CODE + 16, 0)
    assert guest.registers("pc") == (VECTORS + 0x400 + 8,)


def test_undefined(guest: Guest) -> None:
    guest.start(programs.UNDEFINED)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "elr_el1", "x0") == (EC_UNKNOWN | IL, CODE + 4, 1)


def test_brk_is_the_guests_own(guest: Guest) -> None:
    guest.start(programs.BRK)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "elr_el1") == (EC_BRK | IL | 0x77, CODE)


@pytest.mark.parametrize(("fpen", "trapped"), [(0, True), (1, False), (2, True), (3, False)])
def test_floating_point_traps_as_cpacr_says(guest: Guest, fpen: int, trapped: bool) -> None:
    guest.start(programs.FP, x1=fpen << 20)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x3", "x29") == ((0, 1) if trapped else (1, 0))
    if trapped:
        assert guest.registers("esr_el1", "elr_el1") == (EC_FP | IL | 0x1E00000, CODE + 8)


@pytest.mark.parametrize(("fpen", "trapped"), [(0, True), (1, True), (2, True), (3, False)])
def test_floating_point_at_el0_traps_as_cpacr_says(guest: Guest, fpen: int, trapped: bool) -> None:
    guest.start(programs.EL0_FP, x1=CODE + 16, x2=fpen << 20)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    expected = (EC_FP | IL | 0x1E00000, CODE + 16) if trapped else (EC_SVC | IL | 7, CODE + 24)
    assert guest.registers("esr_el1", "elr_el1", "spsr_el1") == (*expected, 0)


def test_a_read_that_is_refused(guest: Guest) -> None:
    guest.trap.on_read = refuse_read
    guest.start(programs.POST_INDEX, x1=NOWHERE)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "far_el1", "elr_el1") == (EC_DATA | IL | EXTERNAL, NOWHERE, CODE + 8)
    assert guest.registers("x1", "x3") == (NOWHERE, 2), "the load did not happen, what stands before it did"


def test_a_write_that_is_refused(guest: Guest) -> None:
    guest.trap.on_write = refuse_write
    guest.start(programs.STORE_PRE_INDEX, x1=NOWHERE - 8)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "far_el1", "elr_el1") == (EC_DATA | IL | WRITE | EXTERNAL, NOWHERE, CODE + 4)
    assert guest.registers("x1", "x3") == (NOWHERE - 8, 1)


def test_an_access_may_be_undefined_instead(guest: Guest) -> None:
    def refuse(address: int, width: int) -> int:
        raise Undefined

    guest.trap.on_read = refuse
    guest.start(programs.POST_INDEX, x1=DEVICE)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "elr_el1", "x3") == (EC_UNKNOWN | IL, CODE + 8, 2)


@pytest.mark.parametrize("target", [DEVICE, NOWHERE, RAM - 4, (1 << 44) - 4])
def test_nothing_but_memory_can_be_executed(guest: Guest, target: int) -> None:
    guest.start(programs.BRANCH, x1=target)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "far_el1", "elr_el1") == (EC_FETCH | IL | EXTERNAL, target, target)
    assert guest.trap.reads == []


def test_a_device_that_was_read_cannot_be_executed_either(guest: Guest) -> None:
    guest.load(FUNCTION, programs.LOAD)
    guest.start(programs.BRANCH, x1=DEVICE)
    guest.go(FUNCTION)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    reads = len(guest.trap.reads)
    guest.go(CODE)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "far_el1") == (EC_FETCH | IL | EXTERNAL, DEVICE)
    assert len(guest.trap.reads) == reads


@pytest.mark.parametrize("target", [FUNCTION + 1, FUNCTION + 2, FUNCTION + 0xFFF, NOWHERE + 2])
def test_a_program_counter_between_instructions(guest: Guest, target: int) -> None:
    guest.start(programs.BRANCH, x1=target)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "far_el1", "elr_el1") == (EC_PC | IL, target, target)


def test_an_address_beyond_the_physical_ones(guest: Guest) -> None:
    guest.start(programs.LOAD, x1=1 << 50)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "far_el1") == (EC_DATA | IL, 1 << 50), "address size fault, level 0"


def test_translation_tables_that_are_nowhere(guest: Guest) -> None:
    tcr = 25 | 0b101 << 32  # T0SZ 25: 39 bits; 4 KiB granule; 48-bit physical addresses
    guest.start(programs.MMU_ON, x1=DATA, x2=tcr, x3=NOWHERE, x4=0x30D0_0801)
    guest.vectors(programs.VECTOR)
    assert guest.vcpu.enter(DEADLINE) is BUDGET_EXHAUSTED, "the vectors cannot be fetched either"
    assert guest.trap.reads == [], "a table walk is no access to a device"
    # An external abort on the walk; the library calls it a translation fault, level 1.
    assert guest.registers("esr_el1")[0] == EC_FETCH | IL | 0x05


def test_an_exception_loop_without_vectors_ends_with_the_budget(guest: Guest) -> None:
    guest.vcpu.write_register("vbar_el1", NOWHERE)
    guest.start(programs.UNDEFINED)
    assert guest.vcpu.enter(100_000) is BUDGET_EXHAUSTED


def test_atomics_on_a_device_do_not_hurt(guest: Guest) -> None:
    guest.start(programs.ATOMIC, x1=DEVICE)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.trap.reads


def test_clearing_a_block_of_a_device_does_not_hurt(guest: Guest) -> None:
    guest.start(programs.ZVA, x1=DEVICE + 8)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert {address & ~63 for address, _, _ in guest.trap.writes} == {DEVICE}
    assert {value for _, _, value in guest.trap.writes} == {0}


def test_what_the_library_cannot_translate_is_undefined() -> None:
    with Guest(cpu="max") as guest:
        guest.vcpu.write_register("cpacr_el1", 3 << 20)
        guest.vectors(programs.SKIP_VECTOR)
        guest.start(programs.UNTRANSLATABLE)
        for _ in range(2):
            guest.go(CODE, x0=0, x29=0)
            assert guest.vcpu.enter(DEADLINE) is HALTED
            assert guest.registers("x0", "x29", "elr_el1", "esr_el1") == (3, 1, CODE + 12, EC_UNKNOWN | IL)
        assert isinstance(guest.vcpu, UnicornVcpu)
        assert guest.vcpu.untranslatable == 2
