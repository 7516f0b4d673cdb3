"""Code that changes, and translations that go away, on one vCPU and on all of a VM."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from avmm.plugin import HALTED, ExternalAbort, VcpuEngine
from avmm_unicorn.vcpu import UnicornVcpu
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DATA, DEADLINE, FUNCTION, RAM, TABLES, Guest

MOV_X0_3, MOV_X0_4 = 0xD280_0060, 0xD280_0080
OTHER_PAGE = FUNCTION + 0x1000
TCR = 25 | 0b101 << 32  # T0SZ 25: 39 bits; 4 KiB granule; 48-bit physical addresses
SCTLR_MMU = 0x30D0_0801
BLOCK, TABLE, PAGE, ACCESSED = 0b01, 0b11, 0b11, 1 << 10
WINDOW = 0x20_0000  # a virtual address in the first table's first GiB


@pytest.fixture
def pair() -> Iterator[Guest]:
    with Guest(vcpus=2) as guest:
        yield guest


def native(vcpu: VcpuEngine) -> UnicornVcpu:
    assert isinstance(vcpu, UnicornVcpu)
    return vcpu


@pytest.mark.parametrize("program", [programs.REWRITE, programs.REWRITE_ALL])
def test_code_written_with_maintenance_is_what_runs(guest: Guest, program: tuple[int, ...]) -> None:
    guest.load(FUNCTION, programs.SET_ONE)
    guest.load(FUNCTION + 4, programs.WFI)
    guest.load(CODE, program)
    for instruction, expected in ((MOV_X0_3, 3), (MOV_X0_4, 4), (MOV_X0_3, 3)):
        guest.go(CODE, x1=FUNCTION, x2=instruction)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x0") == (expected,)


def test_a_guest_that_forgets_the_maintenance_is_forgiven(guest: Guest) -> None:
    for instruction, expected in ((MOV_X0_3, 3), (MOV_X0_4, 4)):
        guest.start(programs.REWRITE_SELF, x2=instruction)
        guest.vcpu.reset()
        guest.go(CODE, x2=instruction)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x0") == (expected,)


def test_data_beside_code_is_stored_and_the_code_still_runs(guest: Guest) -> None:
    guest.start(programs.STORE_LOOP, x0=100, x1=CODE + 0x400)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.read64(CODE + 0x400) == 1
    guest.go(CODE, x0=7, x1=CODE + 0x400)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.read64(CODE + 0x400) == 1


def test_code_changed_by_one_vcpu_changes_for_the_other(pair: Guest) -> None:
    pair.load(FUNCTION, programs.SET_ONE)
    pair.load(OTHER_PAGE, programs.CALL)
    for vcpu in range(2):
        pair.go(OTHER_PAGE, vcpu=vcpu, x1=FUNCTION)
        assert pair.vcpus[vcpu].enter(DEADLINE) is HALTED
        assert pair.registers("x0", vcpu=vcpu) == (1,)
    pair.load(FUNCTION, programs.SET_TWO)  # as a device or the other vCPU would: behind the translations' back
    pair.go(OTHER_PAGE, vcpu=1, x1=FUNCTION)
    assert pair.vcpus[1].enter(DEADLINE) is HALTED
    assert pair.registers("x0", vcpu=1) == (1,), "until somebody invalidates, the old code may run"
    pair.start(programs.INVALIDATE_LINE, x1=FUNCTION)
    assert pair.vcpu.enter(DEADLINE) is HALTED
    for vcpu in range(2):
        pair.go(OTHER_PAGE, vcpu=vcpu, x1=FUNCTION)
        assert pair.vcpus[vcpu].enter(DEADLINE) is HALTED
        assert pair.registers("x0", vcpu=vcpu) == (2,)
    assert native(pair.vcpu).code_broadcasts == 1


def test_more_lines_than_can_be_remembered(pair: Guest) -> None:
    pair.load(FUNCTION, programs.SET_ONE)
    pair.load(OTHER_PAGE, programs.CALL)
    pair.go(OTHER_PAGE, vcpu=1, x1=FUNCTION)
    assert pair.vcpus[1].enter(DEADLINE) is HALTED
    pair.load(FUNCTION, programs.SET_TWO)
    pair.load(CODE, programs.INVALIDATE_LINE)
    for line in range(100):
        pair.go(CODE, x1=FUNCTION + 64 * (99 - line))
        assert pair.vcpu.enter(DEADLINE) is HALTED
    pair.go(OTHER_PAGE, vcpu=1, x1=FUNCTION)
    assert pair.vcpus[1].enter(DEADLINE) is HALTED
    assert pair.registers("x0", vcpu=1) == (2,)


def map_window(guest: Guest, physical: int) -> None:
    """Translation tables: RAM's GiB as a block where it is, and one page at WINDOW."""

    def entry(table: int, index: int, value: int) -> None:
        guest.write(table + 8 * index, value.to_bytes(8, "little"))

    entry(TABLES, 0, TABLES + 0x1000 | TABLE)
    entry(TABLES, 1, RAM | ACCESSED | BLOCK)
    entry(TABLES + 0x1000, WINDOW >> 21, TABLES + 0x2000 | TABLE)
    entry(TABLES + 0x2000, 0, physical | ACCESSED | PAGE)


@pytest.mark.parametrize(("program", "operand"), [(programs.TLBI_ALL, 0), (programs.TLBI_PAGE, WINDOW >> 12)])
def test_a_broadcast_tlbi_reaches_every_vcpu(pair: Guest, program: tuple[int, ...], operand: int) -> None:
    pair.write(DATA, (11).to_bytes(8, "little"))
    pair.write(DATA + 0x1000, (22).to_bytes(8, "little"))
    map_window(pair, DATA)
    pair.load(CODE, programs.MMU_ON)
    pair.load(FUNCTION, programs.LOAD_WFI)
    pair.load(OTHER_PAGE, program)
    for vcpu in range(2):
        pair.go(CODE, vcpu=vcpu, x1=WINDOW, x2=TCR, x3=TABLES, x4=SCTLR_MMU)
        assert pair.vcpus[vcpu].enter(DEADLINE) is HALTED
        assert pair.registers("x0", vcpu=vcpu) == (11,)
    map_window(pair, DATA + 0x1000)
    pair.go(FUNCTION, vcpu=1, x1=WINDOW)
    assert pair.vcpus[1].enter(DEADLINE) is HALTED
    assert pair.registers("x0", vcpu=1) == (11,), "nobody said that the table changed"
    pair.go(OTHER_PAGE, x1=operand)
    assert pair.vcpu.enter(DEADLINE) is HALTED
    assert [traps.tlb_flushes for traps in pair.traps] == [1, 0]
    assert native(pair.vcpu).tlb_broadcasts == 1
    for vcpu in range(2):
        pair.go(FUNCTION, vcpu=vcpu, x1=WINDOW)
        assert pair.vcpus[vcpu].enter(DEADLINE) is HALTED
        assert pair.registers("x0", vcpu=vcpu) == (22,)


def test_more_pages_than_can_be_remembered(pair: Guest) -> None:
    pair.write(DATA, (11).to_bytes(8, "little"))
    pair.write(DATA + 0x1000, (22).to_bytes(8, "little"))
    map_window(pair, DATA)
    pair.load(CODE, programs.MMU_ON)
    pair.load(FUNCTION, programs.LOAD_WFI)
    pair.load(OTHER_PAGE, programs.TLBI_PAGE)
    for vcpu in range(2):
        pair.go(CODE, vcpu=vcpu, x1=WINDOW, x2=TCR, x3=TABLES, x4=SCTLR_MMU)
        assert pair.vcpus[vcpu].enter(DEADLINE) is HALTED
    map_window(pair, DATA + 0x1000)
    for page in range(100):
        pair.go(OTHER_PAGE, x1=(WINDOW >> 12) + 99 - page)
        assert pair.vcpu.enter(DEADLINE) is HALTED
    pair.go(FUNCTION, vcpu=1, x1=WINDOW)
    assert pair.vcpus[1].enter(DEADLINE) is HALTED
    assert pair.registers("x0", vcpu=1) == (22,), "the last of a hundred"


@pytest.mark.parametrize(("program", "operand"), [(programs.TLBI_ALL, 0), (programs.TLBI_PAGE, WINDOW >> 12)])
def test_code_at_one_address_is_that_of_the_page_mapped_there(guest: Guest, program: tuple[int, ...], operand: int) -> None:
    pages = {1: DATA, 2: DATA + 0x1000}
    guest.load(pages[1], programs.SET_ONE)
    guest.load(pages[2], programs.SET_TWO)
    guest.load(FUNCTION, programs.CALL)
    guest.load(OTHER_PAGE, program)
    map_window(guest, pages[1])
    guest.start(programs.MMU_ON, x1=WINDOW, x2=TCR, x3=TABLES, x4=SCTLR_MMU)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    for number in (1, 2, 1, 2):
        map_window(guest, pages[number])
        guest.go(OTHER_PAGE, x1=operand)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        for _ in range(2):
            guest.go(FUNCTION, x1=WINDOW)
            assert guest.vcpu.enter(DEADLINE) is HALTED
            assert guest.registers("x0") == (number,)


def test_a_vcpu_alone_tells_nobody(guest: Guest) -> None:
    guest.start(programs.TLBI_ALL)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert (guest.trap.tlb_flushes, native(guest.vcpu).tlb_broadcasts) == (0, 0)


def test_flush_tlb_forgets_translations(guest: Guest) -> None:
    guest.write(DATA, (11).to_bytes(8, "little"))
    guest.write(DATA + 0x1000, (22).to_bytes(8, "little"))
    map_window(guest, DATA)
    guest.load(FUNCTION, programs.LOAD_WFI)
    guest.start(programs.MMU_ON, x1=WINDOW, x2=TCR, x3=TABLES, x4=SCTLR_MMU)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    map_window(guest, DATA + 0x1000)
    guest.vcpu.flush_tlb()
    guest.go(FUNCTION, x1=WINDOW)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x0") == (22,)


def test_a_device_behind_translation_is_known_by_its_physical_address(guest: Guest) -> None:
    def refuse(address: int, width: int) -> int:
        raise ExternalAbort

    map_window(guest, 0x0900_0000)
    guest.start(programs.MMU_ON, x1=WINDOW + 0x18, x2=TCR, x3=TABLES, x4=SCTLR_MMU)
    guest.trap.on_read = refuse
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.trap.reads == [(0x0900_0018, 8)]
    assert guest.registers("far_el1", "esr_el1") == (WINDOW + 0x18, 0x9600_0010)


def test_more_code_than_the_translation_buffer_holds() -> None:
    # Blocks of one instruction and a branch, 4 KiB of them at a time, rewritten by the host and run again.
    with Guest(options={"translation_buffer_mb": 1}) as guest:
        branch_to_next = 0x1400_0001
        program = [word for _ in range(0x3000 // 8) for word in (0x9100_0400, branch_to_next)]  # add x0, x0, #1
        guest.load(TABLES, [*program, *programs.WFI])
        for number in range(1, 6):
            guest.go(TABLES, x0=0)
            assert guest.vcpu.enter() is HALTED
            assert guest.registers("x0") == (len(program) // 2,)
            guest.load(CODE, programs.REWRITE_ALL)
            guest.load(FUNCTION, programs.WFI)
            guest.go(CODE, x1=FUNCTION, x2=programs.WFI[0])
            assert guest.vcpu.enter() is HALTED, number


def test_the_vm_is_told_again_only_when_somebody_has_run_since(pair: Guest) -> None:
    pair.load(OTHER_PAGE, programs.TLBI_ALL)
    pair.load(FUNCTION, programs.WFI)
    for expected in (1, 1, 1):
        pair.go(OTHER_PAGE)
        assert pair.vcpu.enter(DEADLINE) is HALTED
        assert pair.trap.tlb_flushes == expected
    pair.go(FUNCTION, vcpu=1)
    assert pair.vcpus[1].enter(DEADLINE) is HALTED
    pair.go(OTHER_PAGE)
    assert pair.vcpu.enter(DEADLINE) is HALTED
    assert (pair.trap.tlb_flushes, native(pair.vcpu).tlb_broadcasts) == (2, 4)
