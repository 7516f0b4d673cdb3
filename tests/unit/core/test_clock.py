"""Clocks: virtual time moved by hand, and the host's clock with a timerfd that is none."""

from __future__ import annotations

import asyncio
import heapq
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm import host_clock
from avmm.clock import TimerHeap, VirtualClock
from avmm.exits import HALTED
from avmm.host_clock import HostClock
from avmm.testing import Compute, ReadSystemRegister, ScriptedVm, Spin


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


# The host's clock, with a timerfd and a time that are not the host's.


class Fd:
    """A timerfd as it is set, and CLOCK_MONOTONIC moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000
        self.armed_ns = 0
        self.settings: list[int] = []
        self.real = host_clock._libc
        monkeypatch.setattr(host_clock, "_libc", self)
        monkeypatch.setattr(host_clock.time, "monotonic_ns", lambda: self.now_ns)

    def timerfd_create(self, clock: int, flags: int) -> int:
        return self.real.timerfd_create(clock, flags)

    def timerfd_settime(self, fd: int, flags: int, new: object, old: object) -> int:
        value = new._obj.value  # type: ignore[attr-defined]
        self.armed_ns = value.seconds * 1_000_000_000 + value.nanoseconds
        self.settings.append(self.armed_ns)
        return 0

    def expire(self, clock: HostClock, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.now_ns >= self.armed_ns
        monkeypatch.setattr(host_clock.os, "read", lambda fd, count: b"\1" + bytes(7))
        clock._expired()


@pytest.fixture
def fd(monkeypatch):
    return Fd(monkeypatch)


@pytest.fixture
def host(fd):
    clock = HostClock()
    yield clock
    clock.close()


def test_the_timerfd_is_set_to_the_earliest_timer(host, fd):
    host.call_at(5_000_000_123, lambda: None)
    host.call_at(9_000, lambda: None)
    host.call_at(10_000, lambda: None)
    assert fd.settings == [5_000_000_123, 9_000]


def test_a_timer_at_zero_does_not_disarm_it(host, fd):
    host.call_at(0, lambda: None)
    assert fd.settings == [1]


def test_what_is_due_is_called_and_the_rest_is_armed(host, fd, monkeypatch):
    calls = []
    host.call_at(2_000, lambda: calls.append(2_000))
    host.call_at(3_000, lambda: calls.append(3_000))
    host.call_at(8_000, lambda: calls.append(8_000))
    fd.now_ns = 3_500
    fd.expire(host, monkeypatch)
    assert calls == [2_000, 3_000]
    assert fd.armed_ns == 8_000


def test_a_wake_up_that_comes_early_calls_nothing(host, fd, monkeypatch):
    calls = []
    timer = host.call_at(2_000, lambda: calls.append(1))
    host.call_at(5_000, lambda: calls.append(2))
    fd.now_ns = 1_500
    fd.armed_ns = 0  # as if it had been woken
    fd.expire(host, monkeypatch)
    assert calls == []
    assert fd.armed_ns == 2_000
    timer.cancel()


def test_nobody_is_woken_for_a_timer_that_was_cancelled(host, fd):
    first, second, third = (host.call_at(when_ns, lambda: None) for when_ns in (2_000, 5_000, 9_000))
    second.cancel()
    assert fd.settings == [2_000]
    first.cancel()
    assert fd.settings == [2_000, 9_000]
    third.cancel()
    assert fd.settings == [2_000, 9_000, 0]
    host.call_at(7_000, lambda: None)
    assert fd.armed_ns == 7_000


def test_one_due_timer_cancels_another(host, fd, monkeypatch):
    calls, timers = [], []
    host.call_at(2_000, lambda: timers[0].cancel())
    timers.append(host.call_at(2_000, lambda: calls.append(1)))
    fd.now_ns = 2_000
    fd.expire(host, monkeypatch)
    assert calls == []


def test_after_closing_no_timerfd_is_set(fd):
    clock = HostClock()
    clock.call_at(5_000, lambda: None)
    clock.close()
    settings = list(fd.settings)
    clock.call_at(6_000, lambda: None)
    assert fd.settings == settings


def test_a_host_without_timerfd_says_so(fd, monkeypatch):
    monkeypatch.setattr(fd, "timerfd_create", lambda clock, flags: -1)
    with pytest.raises(OSError, match="timerfd_create"):
        HostClock()


async def test_a_call_that_raises_does_not_cost_the_others_theirs(fd, monkeypatch):
    clock, calls, raised = HostClock(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context["exception"]))
    clock._loop = asyncio.get_running_loop()
    for number in range(4):
        clock.call_at(2_000 + number, lambda number=number: calls.append(1 // (number % 2)))
    fd.now_ns = 5_000
    with pytest.raises(ZeroDivisionError):
        fd.expire(clock, monkeypatch)
    for _ in range(5):
        await asyncio.sleep(0)
    assert calls == [1, 1]
    assert [type(error) for error in raised] == [ZeroDivisionError]
    monkeypatch.undo()
    clock.close()


async def test_a_real_timer_fires_and_not_early():
    clock = HostClock()
    clock.start()
    fired = asyncio.get_running_loop().create_future()
    due = clock.now_ns() + 1_000_000
    clock.call_at(due, lambda: fired.set_result(clock.now_ns()))
    assert await fired >= due
    clock.close()


# Virtual time and sleeping vCPUs.


async def test_time_goes_on_from_timer_to_timer_while_all_sleep(scripted_vm):
    """Also past a timer that wakes nobody."""
    vm: ScriptedVm = await scripted_vm([], vcpus=2, start=False)
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(vm.clock.now_ns())
        if len(ticks) < 5:
            vm.clock.call_at(vm.clock.now_ns() + 1_000, tick)

    vm.clock.call_at(1_000, tick)
    await vm.start()
    await vm.until(lambda: len(ticks) == 5)
    assert ticks == [1_000, 2_000, 3_000, 4_000, 5_000]


async def test_also_past_a_timer_made_long_before(scripted_vm):
    vm: ScriptedVm = await scripted_vm([], start=False)
    fired: list[int] = []
    for when in (1_000, 2_000, 3_000):
        vm.clock.call_at(when, lambda: fired.append(vm.clock.now_ns()))
    await vm.start()
    await vm.until(lambda: len(fired) == 3)
    assert fired == [1_000, 2_000, 3_000]


@pytest.mark.parametrize("thread", [False, True])
async def test_a_timer_made_while_all_sleep_is_reached(scripted_vm, thread):
    from avmm.testing import in_thread

    vm = await scripted_vm([])
    await vm.until(lambda: vm.vcpus[0].asleep)
    await vm.passes()
    fired: list[int] = []

    def make() -> None:
        vm.clock.call_at(10_000, lambda: fired.append(vm.clock.now_ns()))

    if thread:
        in_thread(make)
    else:
        make()
    await vm.until(lambda: fired)
    assert fired == [10_000]


async def test_time_does_not_jump_while_a_vcpu_runs(scripted_vm):
    vm = await scripted_vm([Compute(500), Spin()], [])
    fired: list[int] = []
    vm.clock.call_at(10**15, lambda: fired.append(1))
    await vm.passes(50)
    assert fired == []
    assert vm.clock.now_ns() < 10**9


async def test_the_same_run_has_the_same_times():
    async def run() -> list[object]:
        async with ScriptedVm([Compute(25_000)], [Compute(7), HALTED, ReadSystemRegister("irq_ack")], max_in_guest=1) as vm:
            vm.clock.call_at(12_345, lambda: vm.toy.raise_irq(1))
            await vm.start()
            await vm.until(lambda: all(vcpu.asleep for vcpu in vm.vcpus) and vm.guest(1).entries == 2)
            return [list(vm.trace_log), vm.clock.now_ns(), [vcpu.stats.guest_ns for vcpu in vm.vcpus]]

    assert await run() == await run()


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
