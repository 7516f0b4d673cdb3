"""Slots: turns, quanta, hand-over. Time is moved by hand."""

from __future__ import annotations

import asyncio
import threading

import pytest

from avmm import ExitReason
from avmm.clock import VirtualClock
from avmm.exits import KICKED, Exit
from avmm.plugin import Tracepoint
from avmm.slot import WAKEUP_GRANULARITY_NS, InlineSlot, ThreadSlot
from avmm.testing import Compute, ScriptedVm, Spin

QUANTUM_NS = 1_000_000


class Engine:
    """What a slot needs of an engine."""

    def __init__(self) -> None:
        self.instructions = 0
        self.kicks = 0
        self.kicked = threading.Semaphore(0)

    def kick(self) -> None:
        self.kicks += 1
        self.kicked.release()


class Vcpu:
    """What a slot needs of a vCPU: its guest spins until kicked."""

    def __init__(self, name: str) -> None:
        self.name, self.engine, self.exhausted_quantum = name, Engine(), False
        self.inside = threading.Event()
        self.recalled, self.wakes = False, 0
        self.budgets: list[int] = []

    def __repr__(self) -> str:
        return self.name

    def enter_guest(self, budget: int = 0) -> Exit:
        self.budgets.append(budget)
        if budget:
            self.engine.instructions += budget
            return KICKED
        return self.stay()

    def stay(self) -> Exit | None:
        self.inside.set()
        assert self.engine.kicked.acquire(timeout=60)
        self.inside.clear()
        return KICKED

    def wake_up(self) -> bool:
        self.wakes += 1
        return False


@pytest.fixture
def vcpus() -> list[Vcpu]:
    return [Vcpu(name) for name in "abcd"]


async def _passes(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_free_slot_is_taken_at_once(vcpus):
    slot = InlineSlot(VirtualClock())
    taking = slot.acquire(vcpus[0])
    with pytest.raises(StopIteration):
        taking.send(None)
    assert slot.vcpu is vcpus[0]
    slot.release(vcpus[0])
    assert (slot.vcpu, slot.switches) == (None, 0)
    slot.close()


async def test_first_come_first_served(vcpus):
    slot = InlineSlot(VirtualClock())
    order: list[Vcpu] = []

    async def turn(vcpu: Vcpu) -> None:
        await slot.acquire(vcpu)
        order.append(vcpu)
        await _passes(3)
        slot.release(vcpu)

    await asyncio.gather(*(turn(vcpu) for vcpu in vcpus))
    assert order == vcpus
    assert slot.switches == 3


async def test_the_holder_gets_behind_those_who_wait(vcpus):
    slot = InlineSlot(VirtualClock())
    order: list[Vcpu] = []

    async def loop(vcpu: Vcpu) -> None:
        for _ in range(3):
            await slot.acquire(vcpu)
            order.append(vcpu)
            await asyncio.sleep(0)
            slot.release(vcpu)

    await asyncio.gather(loop(vcpus[0]), loop(vcpus[1]))
    assert order == [vcpus[0], vcpus[1]] * 3


async def test_only_its_holder_releases_a_slot(vcpus):
    slot = InlineSlot(VirtualClock())
    await slot.acquire(vcpus[0])
    with pytest.raises(AssertionError, match="released by the vCPU that has it"):
        slot.release(vcpus[1])


async def test_a_waiter_that_is_cancelled_is_passed_over(vcpus):
    slot = InlineSlot(VirtualClock())
    await slot.acquire(vcpus[0])
    waiting = [asyncio.ensure_future(slot.acquire(vcpu)) for vcpu in vcpus[1:]]
    await _passes()
    waiting[0].cancel()
    await _passes()
    slot.release(vcpus[0])
    await _passes()
    assert slot.vcpu is vcpus[2]


async def test_a_waiter_cancelled_as_its_turn_comes_passes_it_on(vcpus):
    slot = InlineSlot(VirtualClock())
    await slot.acquire(vcpus[0])
    waiting = [asyncio.ensure_future(slot.acquire(vcpu)) for vcpu in vcpus[1:3]]
    await _passes()
    slot.release(vcpus[0])  # its turn is set, and its task has not run yet
    assert slot.vcpu is vcpus[1]
    waiting[0].cancel()
    await _passes()
    assert waiting[0].cancelled()
    assert slot.vcpu is vcpus[2]
    assert waiting[1].done()


async def test_inline_slices_are_bounded_and_advance_virtual_time(vcpus):
    clock = VirtualClock(ns_per_instruction=3)
    slot = InlineSlot(clock, slice_instructions=100)
    assert await slot.enter(vcpus[0]) is KICKED
    assert vcpus[0].budgets == [100]
    assert clock.now_ns() == 300


async def test_an_inline_guest_lets_the_loop_go_on(scripted_vm):
    vm: ScriptedVm = await scripted_vm([Spin()])
    ticks = 0
    for _ in range(100):
        await asyncio.sleep(0)
        ticks += 1
    assert ticks == 100
    assert vm.vcpus[0].stats.exits_by_reason[ExitReason.BUDGET] > 10
    assert vm.clock.now_ns() == vm.guest().instructions


class ThreadBench:
    """A thread slot, vCPUs whose guests spin, and a clock moved by hand."""

    def __init__(self, vcpus: list[Vcpu]) -> None:
        self.clock = VirtualClock()
        self.slot = ThreadSlot(self.clock, quantum_ns=QUANTUM_NS)
        self.order: list[Vcpu] = []
        self.tasks: list[asyncio.Task[None]] = []

    def run(self, vcpu: Vcpu, turns: int = 1) -> asyncio.Task[None]:
        async def loop() -> None:
            for _ in range(turns):
                await self.slot.acquire(vcpu)
                self.order.append(vcpu)
                try:
                    await self.slot.enter(vcpu)
                finally:
                    self.slot.release(vcpu)

        task = asyncio.ensure_future(loop())
        self.tasks.append(task)
        return task

    async def inside(self, vcpu: Vcpu) -> None:
        await asyncio.to_thread(vcpu.inside.wait, 60)
        assert vcpu.inside.is_set()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.slot.close()


@pytest.fixture
async def bench(vcpus):
    bench = ThreadBench(vcpus)
    yield bench
    await bench.close()


async def test_alone_a_vcpu_keeps_its_slot(bench, vcpus):
    bench.run(vcpus[0])
    await bench.inside(vcpus[0])
    bench.clock.advance(100 * QUANTUM_NS)
    await _passes()
    assert vcpus[0].engine.kicks == 0


async def test_one_that_was_woken_gets_the_slot_after_the_wakeup_granularity(bench, vcpus):
    running, woken = vcpus[:2]
    bench.run(running)
    await bench.inside(running)
    bench.clock.advance(10)
    bench.run(woken)
    await _passes()
    bench.clock.advance(WAKEUP_GRANULARITY_NS - 11)
    assert running.engine.kicks == 0
    bench.clock.advance(1)
    assert running.engine.kicks == 1
    await bench.inside(woken)
    assert running.exhausted_quantum
    assert not woken.exhausted_quantum


async def test_one_that_has_used_up_its_quantum_waits_for_a_whole_one(bench, vcpus):
    running, waiting = vcpus[:2]
    waiting.exhausted_quantum = True
    bench.run(running)
    await bench.inside(running)
    bench.run(waiting)
    await _passes()
    bench.clock.advance(QUANTUM_NS - 1)
    assert running.engine.kicks == 0
    bench.clock.advance(1)
    assert running.engine.kicks == 1
    await bench.inside(waiting)


async def test_two_that_compute_share_the_slot_in_whole_quanta(bench, vcpus):
    """What one has used up is not taken from the other's turn."""
    first, second = vcpus[:2]
    first.exhausted_quantum = second.exhausted_quantum = True
    bench.run(first, turns=4)
    await bench.inside(first)
    bench.run(second, turns=4)
    await _passes()
    for turn in range(6):
        here, there = (first, second) if turn % 2 == 0 else (second, first)
        await bench.inside(here)
        kicks = here.engine.kicks
        bench.clock.advance(QUANTUM_NS - 1)
        await _passes()
        assert here.engine.kicks == kicks, f"turn {turn} was cut short"
        bench.clock.advance(1)
        assert here.engine.kicks == kicks + 1
        await bench.inside(there)
    assert bench.order == [first, second] * 3 + [first]


async def test_a_timer_left_by_a_predecessor_does_not_put_its_heir_out(bench, vcpus):
    first, second, third = vcpus[:3]
    bench.run(first)
    await bench.inside(first)
    bench.clock.advance(WAKEUP_GRANULARITY_NS - 10)
    bench.run(second)
    bench.run(third)
    await _passes()
    first.engine.kick()  # it leaves by itself, just before its time
    await bench.inside(second)
    bench.clock.advance(WAKEUP_GRANULARITY_NS - 1)  # past the first one's time, within the second one's
    await _passes()
    assert second.engine.kicks == 0
    bench.clock.advance(1)
    assert second.engine.kicks == 1
    await bench.inside(third)


async def _handed_over(bench: ThreadBench, holder: Vcpu, heir: Vcpu, waiting: Vcpu) -> None:
    """The slot has just gone from `holder` to `heir`, whose task has not run yet; `waiting` waits."""
    await bench.slot.acquire(holder)
    bench.run(heir)
    bench.run(waiting)
    await _passes()
    bench.clock.advance(5 * QUANTUM_NS)
    bench.slot.release(holder)
    assert bench.slot.vcpu is heir


async def test_the_holders_time_is_not_charged_to_its_heir(bench, vcpus):
    heir = vcpus[1]
    await _handed_over(bench, *vcpus[:3])
    bench.clock.advance(WAKEUP_GRANULARITY_NS - 1)
    assert heir.engine.kicks == 0
    assert not heir.exhausted_quantum
    await bench.inside(heir)


async def test_a_quantum_that_ends_before_the_entry_is_planned_anew(bench, vcpus):
    """The kick came too early and is forgotten at the entry: the heir must still be put out for the one that waits."""
    heir, waiting = vcpus[1:3]
    await _handed_over(bench, *vcpus[:3])
    bench.clock.advance(WAKEUP_GRANULARITY_NS)
    assert heir.engine.kicks == 1
    assert heir.engine.kicked.acquire(blocking=False)  # clear_kick(), on its way in
    await bench.inside(heir)
    bench.clock.advance(QUANTUM_NS)
    assert heir.engine.kicks == 2
    await bench.inside(waiting)


async def test_what_the_guest_raises_comes_out_of_enter(bench, vcpus):
    def broken() -> Exit:
        raise RuntimeError("broken")

    vcpus[0].stay = broken
    with pytest.raises(RuntimeError, match="broken"):
        await bench.run(vcpus[0])
    bench.run(vcpus[1])
    await bench.inside(vcpus[1])  # the thread lives on


async def test_the_thread_starts_with_the_first_entry_and_ends_with_the_slot(vcpus):
    before = threading.active_count()
    slot = ThreadSlot(VirtualClock(), name="short-lived")
    assert slot.thread is None
    slot.close()
    assert threading.active_count() == before
    slot = ThreadSlot(VirtualClock(), name="short-lived")
    vcpus[0].engine.kick()
    await slot.enter(vcpus[0])
    assert [thread.native_id for thread in threading.enumerate() if thread.name == "short-lived"] == [slot.thread]
    slot.close()
    assert threading.active_count() == before


async def test_more_vcpus_than_slots_all_get_their_turns(scripted_vm, slot):
    vm = await scripted_vm([Compute(5), Spin()], vcpus=4, slot=slot, max_in_guest=2)
    assert len(vm.slots) == 2
    await vm.until(lambda: all(vm.guest(index).entries > 3 for index in range(4)))
    assert all(slot.switches for slot in vm.slots)
    in_guest = [(index, point) for index, point in vm.trace_log if point in (Tracepoint.ENTRY, Tracepoint.EXIT)]
    inside: set[int] = set()
    for index, point in in_guest:
        inside = inside | {index} if point is Tracepoint.ENTRY else inside - {index}
        assert len({number % 2 for number in inside}) == len(inside)  # one to a slot


async def test_who_waits_for_a_slot_is_counted():
    slot = InlineSlot(VirtualClock())
    first, second = object(), object()
    await slot.acquire(first)
    waiting = asyncio.create_task(slot.acquire(second))
    await asyncio.sleep(0)
    assert slot.waiting == 1
    slot.release(first)
    assert slot.waiting == 0
    await waiting
