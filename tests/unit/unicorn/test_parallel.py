"""Several vCPUs of a VM in the guest at once, on the real engine: a thread each, as slots have them.

Each mechanism has a control that does without it, and fails: goes on until something goes wrong, as it must.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from avmm.plugin import HALTED, KICKED, Exit
from avmm_unicorn.engine import UnicornEngine
from tests.unit.unicorn import parallel_programs as programs
from tests.unit.unicorn.guest import CODE, DATA, DEVICE, FUNCTION, TABLES, Guest, Traps
from tests.unit.unicorn.programs import CALL, SET_ONE
from tests.unit.unicorn.test_code import SCTLR_MMU, TCR, WINDOW, map_window, native

Mechanism = Literal["atomics", "waits", "code"]
_LEAVE: dict[Mechanism, int] = {"atomics": 1, "waits": 2, "code": 4}
ACCESSED, PAGE = 1 << 10, 0b11
GATE, GATE_DEVICE = CODE + 0x2000, DEVICE + 0x1000
ROUNDS = 20_000
TRIES = 16
"""Runs, each twice as long, after which a control that has not failed is taken to be unable to. One is nearly always enough."""


class MeetingTraps(Traps):
    """Who writes to GATE_DEVICE goes on when all have."""

    def __init__(self, meeting: threading.Barrier) -> None:
        super().__init__()
        self._meeting = meeting

    def mmio_write(self, address: int, width: int, value: int) -> None:
        if address == GATE_DEVICE:
            self._meeting.wait()
        else:
            super().mmio_write(address, width, value)


@contextmanager
def parallel(*, vcpus: int = 2, without: Mechanism | None = None) -> Iterator[Guest]:
    meeting = threading.Barrier(vcpus)
    with Guest(vcpus=vcpus, cpu="max", parallel=True, make_traps=lambda: MeetingTraps(meeting)) as guest:
        assert isinstance(guest.engine, UnicornEngine)
        if without is not None:
            guest.engine._machine._without = _LEAVE[without]
        yield guest


def run(guest: Guest, *, while_running: Callable[[], None] = lambda: None) -> None:
    """Run all vCPUs at once, from the same moment on, until each waits for an interrupt. Kicks do not end it."""
    ends: list[Exit] = []
    guest.load(GATE, programs.GATE)
    for index in range(len(guest.vcpus)):
        guest.go(GATE, vcpu=index, x15=GATE_DEVICE, x16=guest.registers("pc", vcpu=index)[0])

    def serve(index: int) -> None:
        while (end := guest.vcpus[index].enter()) is KICKED:
            pass
        ends.append(end)

    threads = [threading.Thread(target=serve, args=[index]) for index in range(len(guest.vcpus))]
    for thread in threads:
        thread.start()
    while_running()
    for thread in threads:
        thread.join()
    assert ends == [HALTED] * len(threads)


def count(guest: Guest, program: tuple[int, ...], rounds: int = ROUNDS) -> tuple[int, int]:
    """Have every vCPU count to `rounds` in the same words; where the two of them stand in the end."""
    guest.write(DATA, bytes(128))
    guest.load(CODE, program)
    for index in range(len(guest.vcpus)):
        guest.go(CODE, vcpu=index, x0=rounds, x1=DATA)
    run(guest)
    return guest.read64(DATA), guest.read64(DATA + 8)


WORD = [programs.EXCLUSIVE, programs.LSE_ADD, programs.LSE_CAS]
PAIR = [programs.EXCLUSIVE_PAIR, programs.LSE_CASP]

LOCK = [programs.LSE_SWP, programs.LSE_SWP_HALFWORD, programs.LSE_SWP_BYTE]
EXTREMES = [(programs.LSE_UMAX, 1), (programs.LSE_SMAX, 1), (programs.LSE_UMIN, -1), (programs.LSE_SMIN, -1)]


@pytest.mark.parametrize("program", [*WORD, *PAIR, *LOCK])
def test_atomics_lose_nothing(program: tuple[int, ...]) -> None:
    with parallel(vcpus=3) as guest:
        assert count(guest, program) == (3 * ROUNDS, 3 * ROUNDS if program in PAIR else 0)


@pytest.mark.parametrize("program", WORD + PAIR)  # the lock would be lost for good
def test_without_atomics_counts_are_lost(program: tuple[int, ...]) -> None:
    with parallel(without="atomics") as guest:
        assert any(count(guest, program, ROUNDS << n)[0] < 2 * (ROUNDS << n) for n in range(TRIES))


def lost_extremes(guest: Guest, program: tuple[int, ...], step: int, rounds: int = ROUNDS) -> int:
    """Have every vCPU store ever larger or smaller numbers; how often one was not there the next time, nor one beyond."""
    start = 1 << 40
    guest.write(DATA, start.to_bytes(8, "little"))
    guest.load(CODE, program)
    for index in range(len(guest.vcpus)):
        guest.go(CODE, vcpu=index, x0=rounds, x1=DATA, x2=start, x3=step, x9=0)
    run(guest)
    lost = sum(guest.registers("x9", vcpu=index)[0] for index in range(len(guest.vcpus)))
    return lost + (guest.read64(DATA) != start + rounds * step)


@pytest.mark.parametrize(("program", "step"), EXTREMES)
def test_minimum_and_maximum_lose_nothing(program: tuple[int, ...], step: int) -> None:
    with parallel(vcpus=3) as guest:
        assert lost_extremes(guest, program, step) == 0


@pytest.mark.parametrize(("program", "step"), EXTREMES)
def test_without_atomics_a_maximum_is_lost(program: tuple[int, ...], step: int) -> None:
    with parallel(without="atomics") as guest:
        assert any(lost_extremes(guest, program, step, ROUNDS << n) for n in range(TRIES))


def unseen_by_both(guest: Guest, program: tuple[int, ...]) -> int:
    """The store-buffering litmus test: how often neither of two saw the other's store."""
    rounds = 4000
    flags, turns, seen = (DATA, DATA + 64), (DATA + 128, DATA + 192), (DATA + 0x4_0000, DATA + 0x8_0000)
    guest.write(DATA, bytes(256))
    guest.load(CODE, program)
    for me, other in ((0, 1), (1, 0)):
        guest.go(CODE, vcpu=me, x0=rounds, x1=flags[me], x2=flags[other], x3=turns[me], x4=turns[other], x5=seen[me], x6=0)
    run(guest)
    return sum(
        all(guest.read64(address + 8 * number) < number + 1 for address in seen)  # the round is what is stored
        for number in range(rounds)
    )


def test_a_barrier_lets_one_of_two_see_the_others_store() -> None:
    with parallel() as guest:
        assert sum(unseen_by_both(guest, programs.STORE_BUFFER) for _ in range(3)) == 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="takes two cores to go wrong")
@pytest.mark.parametrize(("program", "without"), [(programs.STORE_BUFFER, "atomics"), (programs.STORE_BUFFER_OPEN, None)])
def test_without_a_barrier_neither_may_see_it(program: tuple[int, ...], without: Mechanism | None) -> None:
    with parallel(without=without) as guest:
        assert any(unseen_by_both(guest, program) for _ in range(10 * TRIES))


def late_messages(guest: Guest, program: tuple[int, ...], rounds: int = 10 * ROUNDS) -> int:
    """The message-passing litmus test: how often a flag came before its message."""
    guest.write(DATA, bytes(128))
    guest.load(CODE, program)
    guest.load(FUNCTION, programs.SUBSCRIBE)
    guest.go(CODE, vcpu=0, x0=rounds, x1=DATA, x2=DATA + 64, x6=0)
    guest.go(FUNCTION, vcpu=1, x0=rounds, x1=DATA, x2=DATA + 64, x9=0)
    run(guest)
    return guest.registers("x9", vcpu=1)[0]


def test_a_message_is_there_before_its_flag() -> None:
    with parallel() as guest:
        assert late_messages(guest, programs.PUBLISH) == 0


def test_a_flag_that_is_set_first_is_seen_first() -> None:
    with parallel() as guest:
        assert any(late_messages(guest, programs.PUBLISH_EARLY, ROUNDS << n) for n in range(TRIES))


def stale_reads(guest: Guest, rounds: int = 2001) -> int:
    """One remaps a page with TLBI and DSB and says when it is done, the others read it: how often the page of before."""
    generation = DATA + 0x2000
    guest.write(generation, bytes(8))
    guest.write(DATA, (0).to_bytes(8, "little"))
    guest.write(DATA + 0x1000, (1).to_bytes(8, "little"))
    map_window(guest, DATA)
    entry = TABLES + 0x2000  # of WINDOW
    guest.load(CODE, programs.TRANSLATE)
    guest.load(FUNCTION, programs.REMAP)
    guest.load(FUNCTION + 0x1000, programs.READ_REMAPPED)
    first, second = (page | ACCESSED | PAGE for page in (DATA, DATA + 0x1000))
    remap = {"x0": rounds, "x1": entry, "x2": first, "x3": second, "x5": WINDOW >> 12, "x24": FUNCTION}
    read = {"x1": WINDOW, "x9": 0, "x24": FUNCTION + 0x1000}
    for index, registers in enumerate((remap, *(read for _ in guest.vcpus[1:]))):
        guest.vcpus[index].reset()
        guest.go(CODE, vcpu=index, x4=generation, x21=TCR, x22=TABLES, x23=SCTLR_MMU, **registers)
    run(guest)
    return sum(guest.registers("x9", vcpu=index)[0] for index in range(1, len(guest.vcpus)))


def test_a_broadcast_tlbi_is_over_when_nobody_uses_the_old_translation() -> None:
    with parallel() as guest:
        assert stale_reads(guest) == 0
        assert native(guest.vcpu).tlb_broadcasts == 2001
        writer, reader = guest.traps
        assert 0 < reader.flushes_handled <= reader.flushes_made <= 2001
        assert reader.flush_ipis <= reader.flushes_made
        assert (writer.flushes_made, writer.flushes_handled, writer.flush_ipis) == (0, 0, 0)


def test_without_waiting_somebody_uses_it() -> None:
    # More than there are cores: one that loses its core in the middle of a block is late for sure.
    with parallel(vcpus=len(os.sched_getaffinity(0)) + 2, without="waits") as guest:
        assert any(stale_reads(guest, (ROUNDS << n) + 1) for n in range(TRIES // 2))


def old_code(guest: Guest, rounds: int = 2000) -> int:
    """One rewrites a function with cache maintenance and says so, the other calls it: how often something older ran."""
    guest.write(DATA, bytes(8))
    guest.load(FUNCTION, SET_ONE)
    guest.load(CODE, CALL)
    guest.go(CODE, vcpu=1, x1=FUNCTION)
    assert guest.vcpus[1].enter() is HALTED, "it knows the function before the first patch"
    guest.load(CODE, programs.PATCH)
    guest.load(CODE + 0x1000, programs.CALL_PATCHED)
    guest.go(CODE, vcpu=0, x0=rounds, x1=FUNCTION, x2=DATA, x3=0xD280_0000, x6=0)
    guest.go(CODE + 0x1000, vcpu=1, x1=FUNCTION, x2=DATA, x3=rounds, x9=0)
    run(guest)
    return guest.registers("x9", vcpu=1)[0]


def test_code_patched_by_another_vcpu_is_what_runs() -> None:
    with parallel() as guest:
        assert old_code(guest) == 0


def test_without_notes_about_code_the_old_one_runs() -> None:
    with parallel(without="code") as guest:
        assert old_code(guest) > 0


def test_who_broadcasts_at_the_same_time_do_not_wait_for_each_other() -> None:
    with parallel(vcpus=4) as guest:
        guest.load(CODE, programs.TLBI_LOOP)
        for index in range(4):
            guest.go(CODE, vcpu=index, x0=500)
        run(guest, while_running=lambda: [vcpu.kick() for _ in range(100) for vcpu in guest.vcpus].clear())
        assert [native(vcpu).tlb_broadcasts for vcpu in guest.vcpus] == [500] * 4


@pytest.mark.parametrize("program", [programs.EXCLUSIVE, programs.LSE_ADD])
def test_atomics_on_a_device_are_made_with_all_others_stopped(program: tuple[int, ...]) -> None:
    rounds, value = 200, 0

    def read(address: int, width: int) -> int:
        return value

    def write(address: int, width: int, new: int) -> None:
        nonlocal value
        value = new

    with parallel(vcpus=3) as guest:
        guest.load(CODE, program)
        for index, traps in enumerate(guest.traps):
            traps.on_read, traps.on_write = read, write
            guest.go(CODE, vcpu=index, x0=rounds, x1=DEVICE)
        run(guest)
        assert value == 3 * rounds
        assert all(native(vcpu).alone_instructions >= rounds for vcpu in guest.vcpus)


def test_while_one_makes_an_atomic_on_a_device_no_other_executes_anything() -> None:
    counted, told, moved = DATA, DATA + 64, []

    def look(address: int, width: int) -> int:
        """In the middle of the atomic, for long enough that the other would have counted on."""
        before = guest.read64(counted)
        for _ in range(200):
            os.sched_yield()
        moved.append(guest.read64(counted) - before)
        return 0

    with parallel() as guest:
        guest.write(DATA, bytes(128))
        guest.load(CODE, programs.ADD_AND_TELL)
        guest.load(FUNCTION, programs.COUNT_UNTIL)
        guest.traps[0].on_read = look
        guest.go(CODE, vcpu=0, x0=100, x1=DEVICE, x5=told)
        guest.go(FUNCTION, vcpu=1, x1=counted, x2=told)
        run(guest)
        assert moved == [0] * 100
        assert native(guest.vcpu).alone_instructions == 100
        assert guest.read64(counted) > 0


def test_who_waits_for_an_event_stays_in_the_guest_and_lets_others_run() -> None:
    with parallel(vcpus=4) as guest:
        guest.write(DATA, bytes(8))
        guest.load(CODE, programs.EVENT_LOOP)
        guest.load(FUNCTION, programs.LSE_ADD)
        for index in range(3):
            guest.go(CODE, vcpu=index, x0=ROUNDS, x1=DATA)
        guest.go(FUNCTION, vcpu=3, x0=ROUNDS, x1=DATA)
        run(guest)
