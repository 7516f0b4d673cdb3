"""Kicks from other threads: none is lost, and none harms the guest, however the race falls."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from avmm.plugin import KICKED, Exit
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DATA, RAM, Guest

KICKS = 3000


def kicked_from_a_thread(guest: Guest, kicks: int, after_each: Callable[[int], None]) -> None:
    """Enter `kicks` times; each entry is ended by one kick from another thread, sent whenever the thread gets to it."""
    entered = threading.Semaphore(0)

    def kick() -> None:
        for _ in range(kicks):
            entered.acquire()
            guest.vcpu.kick()

    kicker = threading.Thread(target=kick)
    kicker.start()
    exits: list[Exit] = []
    try:
        for number in range(kicks):
            entered.release()
            exits.append(guest.vcpu.enter())
            after_each(number)
    finally:
        for _ in range(kicks):
            entered.release()
        kicker.join()
    assert exits == [KICKED] * kicks


def test_a_load_is_never_done_twice(guest: Guest) -> None:
    # Every word points to itself through the last one loaded: a load done twice, or left out, leads elsewhere.
    guest.start(programs.CHASE, x0=DATA)
    guest.write(DATA, (DATA + 8).to_bytes(8, "little") + DATA.to_bytes(8, "little"))
    places: set[tuple[int, int]] = set()

    def look(number: int) -> None:
        pc, pointer = guest.registers("pc", "x0")
        places.add((pc, pointer))

    kicked_from_a_thread(guest, KICKS, look)
    assert places == {(CODE, DATA)}, "a block is left at its start, with the pointer where it began"
    assert guest.vcpu.read_register("x1") % 2 == 0


def test_a_store_stays_in_step_with_its_counter(guest: Guest) -> None:
    guest.start(programs.PUSH, x0=DATA)

    def look(number: int) -> None:
        count, differences = guest.registers("x2", "x5")
        assert (guest.read64(DATA), differences) == (count, 0)

    kicked_from_a_thread(guest, KICKS, look)


def test_a_loop_of_one_instruction_is_left(guest: Guest) -> None:
    guest.start(programs.SPIN)
    kicked_from_a_thread(guest, KICKS, lambda number: None)


@pytest.mark.parametrize("vectors", [0x7000_0000, RAM])
def test_an_exception_loop_without_vectors_is_left(guest: Guest, vectors: int) -> None:
    guest.vcpu.write_register("vbar_el1", vectors)
    guest.start(programs.UNDEFINED)
    guest.write(RAM + 0x200, bytes(0x600))
    kicked_from_a_thread(guest, 50, lambda number: None)


@pytest.mark.usefixtures("eager_threads")
def test_kicks_that_nobody_waits_for(guest: Guest) -> None:
    """Kickers as fast as they can: entries end at once or run on, and the guest's own count is never wrong."""
    guest.start(programs.PUSH, x0=DATA)
    stop = threading.Event()

    def kick() -> None:
        while not stop.is_set():
            guest.vcpu.kick()

    kickers = [threading.Thread(target=kick) for _ in range(2)]
    for kicker in kickers:
        kicker.start()
    try:
        for _ in range(KICKS // 10):
            assert guest.vcpu.enter() is KICKED
            count, differences = guest.registers("x2", "x5")
            assert (guest.read64(DATA), differences) == (count, 0)
    finally:
        stop.set()
        for kicker in kickers:
            kicker.join()
    guest.vcpu.clear_kick()


def test_an_entry_may_be_on_another_thread_each_time(guest: Guest) -> None:
    guest.start(programs.ADD_LOOP, x0=2**40)
    exits: list[Exit] = []
    for _ in range(20):
        entry = threading.Thread(target=lambda: exits.append(guest.vcpu.enter()))
        entry.start()
        guest.vcpu.kick()
        entry.join()
    assert exits == [KICKED] * 20


def test_two_vms_run_at_the_same_time() -> None:
    with Guest() as one, Guest(cpu="max") as other:
        guests = (one, other)
        for guest in guests:
            guest.start(programs.PUSH, x0=DATA)
        exits: list[Exit] = []
        running = [threading.Thread(target=lambda guest=guest: exits.append(guest.vcpu.enter())) for guest in guests]
        for thread in running:
            thread.start()
        # Each is seen to move while the other has not left: they run at once, whatever the number of processors.
        for guest in guests:
            before = guest.read64(DATA)
            while guest.read64(DATA) == before:
                pass
        for guest in guests:
            guest.vcpu.kick()
        for thread in running:
            thread.join()
        assert exits == [KICKED, KICKED]
        for guest in guests:
            assert guest.registers("x2", "x5") == (guest.read64(DATA), 0)
