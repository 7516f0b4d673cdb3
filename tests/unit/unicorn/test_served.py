"""Registers that are served without a trap: what the engine contract does not say, and what only two vCPUs or a clock show."""

from __future__ import annotations

import select
from array import array

import pytest

from avmm.exits import HALTED
from avmm.plugin import EngineError
from avmm.served import SERVES_READS, SERVES_WRITES
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DEVICE, Guest

WRITE_AND_HALT = (
    0xB9000022,  # str w2, [x1]
    0xD503207F,  # wfi
)
READ_AND_HALT = (
    0xB9400022,  # ldr w2, [x1]
    0xD503207F,  # wfi
)


def settled(guest: Guest) -> list[tuple[int, int, int]]:
    """What the engine settles, with nobody to empty the queue."""
    calls: list[tuple[int, int, int]] = []
    served = guest.engine.served_mmio
    assert served is not None
    served.settle_with(lambda *call: calls.append(call))
    return calls


def serve(guest: Guest, address: int, word: int) -> array[int]:
    words = array("Q", (word, 0))
    assert guest.engine.served_mmio is not None
    guest.engine.served_mmio.serve(address, words)
    return words


@pytest.mark.parametrize(("load", "value"), [(0xB9400022, 0x89AB_CDEF), (0x79400022, 0xCDEF), (0x39400022, 0xEF)])
def test_a_read_gives_as_much_of_what_was_told_as_it_is_wide(load: int, value: int) -> None:
    with Guest() as guest:
        settled(guest)
        words = serve(guest, DEVICE, SERVES_READS | 0x89AB_CDEF)
        guest.start((load, 0xD503207F), x1=DEVICE, x2=(1 << 64) - 1)
        assert guest.vcpu.enter() is HALTED
        assert guest.registers("x2") == (value,)
        assert guest.trap.reads == []
        assert words[1] == 1


@pytest.mark.parametrize("program", [WRITE_AND_HALT, READ_AND_HALT])
def test_the_program_counter_is_behind_an_access_that_was_served(program: tuple[int, int]) -> None:
    with Guest() as guest:
        settled(guest)
        serve(guest, DEVICE, SERVES_READS | SERVES_WRITES)
        guest.start(program, x1=DEVICE)
        assert guest.vcpu.enter() is HALTED
        assert guest.registers("pc") == (CODE + 8,)


@pytest.mark.parametrize("offset", [-4, 4])
def test_only_the_register_itself_is_served(offset: int) -> None:
    with Guest() as guest:
        settled(guest)
        serve(guest, DEVICE + 0x10, SERVES_READS | SERVES_WRITES | 5)
        guest.start(READ_AND_HALT, x1=DEVICE + 0x10 + offset)
        assert guest.vcpu.enter() is HALTED
        assert guest.trap.reads == [(DEVICE + 0x10 + offset, 4)]


def test_accesses_of_64_bits_trap() -> None:
    with Guest() as guest:
        settled(guest)
        serve(guest, DEVICE, SERVES_READS | SERVES_WRITES | 5)
        guest.start((0xF9400022, 0xF9000022, 0xD503207F), x1=DEVICE)  # ldr x2, [x1]; str x2, [x1]; wfi
        assert guest.vcpu.enter() is HALTED
        assert guest.trap.reads == [(DEVICE, 8)]
        assert guest.trap.writes == [(DEVICE, 8, 0)]


def test_any_vcpu_that_traps_settles_what_another_has_queued() -> None:
    with Guest(vcpus=2) as guest:
        calls = settled(guest)
        served = guest.engine.served_mmio
        assert served is not None
        serve(guest, DEVICE, SERVES_WRITES)
        guest.start(WRITE_AND_HALT, x1=DEVICE, x2=65)
        assert guest.vcpu.enter() is HALTED
        assert calls == [(0, 0, 1)]
        seen: list[list[tuple[int, int]]] = []
        guest.traps[1].on_read = lambda address, width: seen.append([call[:2] for call in calls]) or 0
        guest.start(READ_AND_HALT, vcpu=1, x1=DEVICE + 8)
        assert guest.vcpus[1].enter() is HALTED
        assert seen == [[(0, 0), (1, 0)]], "before the trap is answered"
        assert served.take() == [(DEVICE, 4, [65])]


def test_writes_are_taken_in_order_a_run_at_a_time() -> None:
    with Guest() as guest:
        settled(guest)
        for offset in (0, 4):
            serve(guest, DEVICE + offset, SERVES_WRITES)
        guest.start(
            (
                0xB9000022,  # str w2, [x1]
                0xB9000023,  # str w3, [x1]
                0x39000022,  # strb w2, [x1]
                0xB9000423,  # str w3, [x1, #4]
                0xB9000022,  # str w2, [x1]
                0xD503207F,  # wfi
            ),
            x1=DEVICE,
            x2=0x1234,
            x3=0xFFFF_FFFF,
        )
        assert guest.vcpu.enter() is HALTED
        assert guest.engine.served_mmio is not None
        assert guest.engine.served_mmio.take() == [
            (DEVICE, 4, [0x1234, 0xFFFF_FFFF]),
            (DEVICE, 1, [0x34]),
            (DEVICE + 4, 4, [0xFFFF_FFFF]),
            (DEVICE, 4, [0x1234]),
        ]
        assert guest.engine.served_mmio.take() == []


def test_a_write_that_waits_makes_the_descriptor_readable_until_it_is_taken() -> None:
    with Guest() as guest:
        settled(guest)
        served = guest.engine.served_mmio
        assert served is not None
        serve(guest, DEVICE, SERVES_WRITES)
        poll = select.poll()
        poll.register(served.fileno(), select.POLLIN)
        assert poll.poll(0) == []
        guest.start(WRITE_AND_HALT, x1=DEVICE)
        assert guest.vcpu.enter() is HALTED
        assert poll.poll(60_000) != []
        served.take()
        assert poll.poll(0) == []


def test_a_guest_that_polls_for_ever_is_counted_meanwhile() -> None:
    with Guest() as guest:
        calls = settled(guest)
        words = serve(guest, DEVICE, SERVES_READS)
        guest.trap.on_read = lambda address, width: 0
        guest.start(programs.rounds(0xB9400022), x1=DEVICE, x0=100_000)  # ldr w2, [x1]
        assert guest.vcpu.enter() is HALTED
        ((address, width),) = guest.trap.reads
        assert (address, width) == (DEVICE, 4)
        assert len(calls) == 2
        assert words[1] == sum(reads for _, reads, _ in calls) == 99_999


def test_there_is_somebody_to_settle_with_before_a_register_is_served() -> None:
    with Guest() as guest, pytest.raises(EngineError):
        serve(guest, DEVICE, SERVES_WRITES)


def test_what_is_served_is_two_words() -> None:
    with Guest() as guest:
        settled(guest)
        assert guest.engine.served_mmio is not None
        with pytest.raises(ValueError, match="two words"):
            guest.engine.served_mmio.serve(DEVICE, array("Q", (0,)))
