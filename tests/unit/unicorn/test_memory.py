"""Memory slots: mapped, unmapped, read-only, and let go of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from avmm.plugin import HALTED, EngineError, MemorySlot
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DATA, DEADLINE, Guest

SECOND = 0x8000_0000


def test_a_slot_mapped_later_is_seen_by_every_vcpu() -> None:
    with Guest(vcpus=2) as guest:
        slot = MemorySlot(SECOND, 0x2000)
        guest.engine.map_memory(slot)
        slot.buffer[0x1000:0x1008] = (99).to_bytes(8, "little")
        guest.load(CODE, programs.LOAD_WFI)
        for vcpu in range(2):
            guest.go(CODE, vcpu=vcpu, x1=SECOND + 0x1000)
            assert guest.vcpus[vcpu].enter(DEADLINE) is HALTED
            assert guest.registers("x0", vcpu=vcpu) == (99,)
        guest.engine.unmap_memory(slot)
        for vcpu in range(2):
            guest.go(CODE, vcpu=vcpu, x1=SECOND + 0x1000)
            assert guest.vcpus[vcpu].enter(DEADLINE) is HALTED
            assert guest.traps[vcpu].reads == [(SECOND + 0x1000, 8)]
        slot.close()


def test_code_in_a_slot_goes_with_it(guest: Guest) -> None:
    for program, expected in ((programs.SET_ONE, 1), (programs.SET_TWO, 2)):
        slot = MemorySlot(SECOND, 0x1000)
        slot.buffer[0:8] = b"".join(word.to_bytes(4, "little") for word in program)
        guest.engine.map_memory(slot)
        guest.load(CODE, programs.CALL)
        guest.go(CODE, x1=SECOND)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x0") == (expected,)
        guest.engine.unmap_memory(slot)
        slot.close()


@pytest.fixture
def rom(guest: Guest) -> Iterator[MemorySlot]:
    """A read-only slot of two pages whose first doubleword is 5."""
    slot = MemorySlot(SECOND, 0x2000, read_only=True)
    slot.buffer[0:8] = (5).to_bytes(8, "little")
    guest.engine.map_memory(slot)
    yield slot
    guest.engine.unmap_memory(slot)
    slot.close()


@pytest.mark.parametrize("offset", [0, 0xFF0])
def test_stores_to_read_only_memory_trap(guest: Guest, rom: MemorySlot, offset: int) -> None:
    at = SECOND + offset
    guest.start(programs.STORE, x1=at, x2=0x1122_3344_5566_7788)
    for _ in range(2):
        assert guest.vcpu.enter(DEADLINE) is HALTED
        guest.go(CODE)
    stores = [(at, 1, 0x88), (at + 2, 2, 0x7788), (at + 4, 4, 0x5566_7788), (at + 8, 8, 0x1122_3344_5566_7788)]
    assert guest.trap.writes == stores * 2
    assert guest.registers("x29") == (0,), "no exception"
    assert rom.buffer[0:16] == (5).to_bytes(8, "little") + bytes(8)


def test_loads_from_read_only_memory_do_not(guest: Guest, rom: MemorySlot) -> None:
    guest.start(programs.LOAD_WFI, x1=SECOND)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x0") == (5,)
    assert guest.trap.reads == []


def test_loads_trap_while_they_are_told_to(guest: Guest, rom: MemorySlot) -> None:
    guest.trap.on_read = lambda address, width: address - SECOND + width
    guest.start(programs.LOAD_WFI, x1=SECOND + 0x1010)
    for trapped, expected in ((False, 0), (True, 0x1018), (False, 0)):
        guest.engine.trap_reads(rom, trapped)
        guest.vcpu.flush_tlb()
        guest.go(CODE)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x0") == (expected,)
    assert guest.trap.reads == [(SECOND + 0x1010, 8)]


def test_the_load_behind_the_store_that_trapped_finds_reads_trapped(guest: Guest, rom: MemorySlot) -> None:
    guest.trap.on_write = lambda address, width, value: guest.engine.trap_reads(rom, value == 1)
    guest.trap.on_read = lambda address, width: 9
    guest.start(programs.STORE_LOAD_TWICE, x1=SECOND, x2=1, x3=0)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x4", "x5", "x6") == (5, 9, 5), "without another store, after one of 1, after one of 0"


def test_code_in_read_only_memory_runs_unless_its_reads_trap(guest: Guest, rom: MemorySlot) -> None:
    rom.buffer[0:8] = b"".join(word.to_bytes(4, "little") for word in programs.SET_ONE)
    guest.load(CODE, programs.CALL)
    guest.go(CODE, x1=SECOND)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x0", "x29") == (1, 0)
    guest.engine.trap_reads(rom, on=True)
    guest.vcpu.flush_tlb()
    guest.go(CODE, x1=SECOND)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x29", "far_el1") == (1, SECOND), "an abort"


@pytest.mark.parametrize("address", [DATA, SECOND + 0x1000])
def test_only_reads_of_a_read_only_slot_can_be_trapped(guest: Guest, rom: MemorySlot, address: int) -> None:
    slot = MemorySlot(address, 0x1000)
    with pytest.raises(KeyError, match="no read-only memory slot"):
        guest.engine.trap_reads(slot, on=True)
    slot.close()


def test_the_buffer_is_held_until_the_engine_lets_go(guest: Guest) -> None:
    slot = MemorySlot(SECOND, 0x1000)
    guest.engine.map_memory(slot)
    with pytest.raises(BufferError):
        slot.close()
    guest.engine.unmap_memory(slot)
    slot.close()


def test_a_slot_over_another_is_refused(guest: Guest) -> None:
    slot = MemorySlot(DATA, 0x1000)
    with pytest.raises(EngineError, match="cannot map memory at 0x40008000"):
        guest.engine.map_memory(slot)
    slot.close()
    guest.start(programs.WFI)
    assert guest.vcpu.enter(DEADLINE) is HALTED


def test_slots_that_grow_are_told_apart(guest: Guest) -> None:
    """The library finds a place for each in an address space of its own, and goes by the smallest."""
    slots = [MemorySlot(SECOND + n * 0x100_0000, 0x10_0000 << n, read_only=True) for n in range(4)]
    for slot in slots:
        guest.engine.map_memory(slot)
    guest.start(programs.STORE)
    for slot in slots:
        guest.go(CODE, x1=slot.address, x2=0)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.trap.writes.pop() == (slot.address + 8, 8, 0)
    for slot in slots:
        guest.engine.unmap_memory(slot)
        slot.close()


def test_a_slot_that_is_not_mapped_cannot_be_unmapped(guest: Guest) -> None:
    slot = MemorySlot(SECOND, 0x1000)
    with pytest.raises(KeyError):
        guest.engine.unmap_memory(slot)
    slot.close()
