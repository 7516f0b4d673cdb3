"""Virtual time, moved by hand, and the heap of its timers."""

from __future__ import annotations

import heapq
import random
import threading

from hypothesis import given
from hypothesis import strategies as st

from avmm.clock import TimerHeap, VirtualClock


def test_virtual_time_stands_still_by_itself():
    clock = VirtualClock(start_ns=7)
    assert [clock.now_ns() for _ in range(3)] == [7, 7, 7]
    assert not clock.is_host


def test_the_guest_moves_it():
    clock = VirtualClock(ns_per_instruction=2)
    clock.guest_ran(50)
    assert clock.now_ns() == 100
    clock.guest_ran(0)
    assert clock.now_ns() == 100


def test_timers_are_called_in_order_each_at_its_own_time():
    clock, calls = VirtualClock(), []
    for when in (30, 10, 20, 10):
        clock.call_at(when, lambda when=when: calls.append((when, clock.now_ns())))
    clock.advance(25)
    assert calls == [(10, 10), (10, 10), (20, 20)]
    assert clock.now_ns() == 25
    clock.advance(5)
    assert calls[-1] == (30, 30)


def test_never_before_its_time():
    clock, calls = VirtualClock(), []
    clock.call_at(10, lambda: calls.append(clock.now_ns()))
    clock.advance(9)
    assert calls == []
    clock.advance(1)
    assert calls == [10]


def test_a_timer_in_the_past_is_called_as_soon_as_time_moves():
    clock, calls = VirtualClock(start_ns=100), []
    clock.call_at(5, lambda: calls.append(clock.now_ns()))
    clock.advance(0)
    assert calls == [100]


def test_a_timer_made_by_a_timer_is_called_in_the_same_stretch():
    clock, calls = VirtualClock(), []
    clock.call_at(10, lambda: clock.call_at(20, lambda: calls.append(clock.now_ns())))
    clock.advance(50)
    assert calls == [20]


def test_cancelled_timers_are_not_called_and_not_waited_for():
    clock, calls = VirtualClock(), []
    timer = clock.call_at(10, lambda: calls.append(10))
    other = clock.call_at(10, lambda: calls.append(11))
    clock.call_at(10, other.cancel)
    timer.cancel()
    timer.cancel()
    late = clock.call_at(10, lambda: calls.append(12))
    clock.call_at(9, late.cancel)  # due in the same stretch, and earlier
    assert clock.next_ns() == 9
    clock.advance(10)
    assert calls == [11]
    other.cancel()  # after it was made: harmless
    assert clock.next_ns() is None


def test_one_timer_cancels_another_that_is_due_with_it():
    clock, calls = VirtualClock(), []
    timers = []
    clock.call_at(10, lambda: timers[0].cancel())
    timers.append(clock.call_at(10, lambda: calls.append(1)))
    clock.advance(10)
    assert calls == []


def test_idle_jumps_to_the_next_timer():
    clock, calls = VirtualClock(), []
    clock.idle()
    assert clock.now_ns() == 0
    clock.call_at(500, lambda: calls.append(clock.now_ns()))
    clock.idle()
    assert (clock.now_ns(), calls) == (500, [500])


def test_a_callback_may_move_time_itself():
    clock = VirtualClock()
    clock.call_at(10, lambda: clock.advance(100))
    clock.advance(20)
    assert clock.now_ns() == 110  # never back


def test_closing_forgets_all_timers():
    clock, calls = VirtualClock(), []
    clock.call_at(1, lambda: calls.append(1))
    clock.close()
    clock.advance(10)
    assert calls == []


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans())), st.lists(st.integers(0, 30)))
def test_like_a_sorted_list(timers, steps):
    clock = VirtualClock()
    calls: list[tuple[int, int]] = []
    expected = []
    for order, (when, cancelled) in enumerate(timers):
        timer = clock.call_at(when, lambda when=when, order=order: calls.append((when, order)))
        if cancelled:
            timer.cancel()
        else:
            expected.append((when, order))
    for step in steps:
        clock.advance(step)
    assert calls == sorted(entry for entry in expected if entry[0] <= sum(steps)) or not steps


def test_timers_may_be_made_on_any_thread():
    clock, calls = VirtualClock(), []

    def make(seed: int) -> None:
        times = random.Random(seed)
        for _ in range(2_000):
            clock.call_at(times.randrange(10_000), lambda: calls.append(clock.now_ns()))

    threads = [threading.Thread(target=make, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.advance(10_000)
    assert len(calls) == 6_000
    assert calls == sorted(calls)


def test_the_heap_drops_what_was_cancelled():
    heap = TimerHeap()
    timers = [heap.add(when, lambda: None) for when in range(5)]
    for timer in timers[:3]:
        timer.cancel()
    assert heap.next_ns() == 3
    assert [timer.when_ns for timer in heap.take_due(3)] == [3]
    heap.clear()
    assert heap.next_ns() is None


def test_heaps_compare_by_time_then_by_order():
    heap = TimerHeap()
    made = [heap.add(5, lambda: None) for _ in range(4)]
    assert [timer.order for timer in heap.take_due(5)] == [timer.order for timer in made]
    assert heapq.nsmallest(1, made) == [made[0]]


def test_cancelled_timers_do_not_pile_up():
    """What a guest does that moves one timer, always to somewhere far and earlier."""
    heap = TimerHeap()
    fired: list[int] = []
    live = [heap.add(1000 + number, lambda number=number: fired.append(number)) for number in range(200)]
    for number in range(10_000):
        heap.add(10**9 - number, lambda: fired.append(-1)).cancel()
        assert len(heap) <= 2 * len(live) + 1
    for timer in heap.take_due(10**9):
        if timer.callback is not None:
            timer.callback()
    assert fired == list(range(200))
