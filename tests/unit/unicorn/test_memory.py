"""Memory slots: mapped, unmapped, read-only, and let go of."""

from __future__ import annotations

import pytest

from avmm.plugin import HALTED, EngineError, MemorySlot
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DATA, DEADLINE, FUNCTION, Guest

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


def test_read_only_memory_keeps_its_contents(guest: Guest) -> None:
    slot = MemorySlot(SECOND, 0x1000, read_only=True)
    slot.buffer[0:8] = (5).to_bytes(8, "little")
    guest.engine.map_memory(slot)
    guest.start(programs.STORE, x1=SECOND, x2=0xFF)
    guest.load(FUNCTION, programs.LOAD_WFI)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x29") == (0,), "no exception: the write is ignored"
    guest.go(FUNCTION, x1=SECOND)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("x0") == (5,)
    guest.engine.unmap_memory(slot)
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


def test_a_slot_that_is_not_mapped_cannot_be_unmapped(guest: Guest) -> None:
    slot = MemorySlot(SECOND, 0x1000)
    with pytest.raises(KeyError):
        guest.engine.unmap_memory(slot)
    slot.close()
