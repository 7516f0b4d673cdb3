"""Sleeping vCPUs: halting, halt polling, and what requests have to do with it (section "Sleeping VCPUs")."""

from __future__ import annotations

import pytest

from avmm import ExitReason, Request, VcpuMode
from avmm.clock import VirtualClock
from avmm.exits import HALTED, YIELDED, Halted
from avmm.plugin import Tracepoint
from avmm.testing import Call, ScriptedVm, Spin, ToyCall, ToyRequest, in_thread
from avmm.vcpu.halt import HaltPoll
from tests.sleepers import sleeps

WORK = ToyRequest.WORK


class HandClock(VirtualClock):
    """A clock that tests move by hand, and that halt polling takes for a real one."""

    is_host = True


async def test_r27_pending_timer_is_handled_by_another_pass(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    await vm.until(lambda: vm.guest().entries)
    flushes = vm.part().flushes
    vm.vcpus[0].make_request_and_kick(Request.PENDING_TIMER)
    await vm.until(lambda: vm.part().flushes > flushes)
    await vm.until(lambda: not vm.vcpus[0].request_pending())


@pytest.mark.parametrize("when", ["before the block", "while asleep"])
async def test_r28_unhalt_is_made_where_the_vcpu_is_found_runnable(scripted_vm, slot, when):
    vm = await scripted_vm([], slot=slot, start=False)
    vcpu, asleep, made = vm.vcpus[0], [], []
    vm.at(0, Tracepoint.ASLEEP, lambda: asleep.append(True))  # behind its last look: on its queue it may still find the interrupt
    vm.at(0, Tracepoint.WAKEUP, lambda: made.append(vcpu.test_request(Request.UNHALT)))
    if when == "before the block":
        vm.at(0, Tracepoint.ENTRY, lambda: vm.part().__setattr__("pending_irqs", 1))
    await vm.start()
    if when == "while asleep":
        await vm.until(lambda: asleep)
        vm.toy.raise_irq(0)
    await vm.until(lambda: made)
    assert made == [True]
    slept = vcpu.stats.halt_wait.buckets  # counted behind the tracepoint, by the slot's thread
    if when == "while asleep":
        await vm.until(lambda: sum(slept) == 1)
    assert sum(slept) == (when == "while asleep")  # it may not have slept at all


@pytest.mark.parametrize("reason", ["timer", "unblock", "deadline", "end"])
async def test_r29_unhalt_is_not_made_for_any_other_reason(scripted_vm, reason):
    vm = await scripted_vm([Halted(1_000_000 if reason == "deadline" else None)], start=False)
    vcpu, made = vm.vcpus[0], []
    vm.at(0, Tracepoint.WAKEUP, lambda: made.append(vcpu.test_request(Request.UNHALT)))
    await vm.start()
    await vm.until(lambda: sleeps(vcpu) or made)
    match reason:
        case "timer":
            vm.part().timer_pending = True
            vcpu.make_request_and_kick(Request.PENDING_TIMER)
        case "unblock":
            vcpu.make_request_and_kick(Request.UNBLOCK)
        case "end":
            await vm.stop()
        case "deadline":
            pass
    await vm.until(lambda: made)
    assert made == [False]
    assert not vcpu.test_request(Request.UNBLOCK)  # consumed by the block it ended
    if reason == "deadline":
        assert vm.clock.now_ns() >= 1_000_000


async def test_r29_runnable_comes_first(scripted_vm, slot):
    """With an interrupt and a timer both there, it is the interrupt that ends the block."""
    vm = await scripted_vm([], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    vm.part().timer_pending = True
    vm.part().pending_irqs = 1
    assert vcpu.sleep.must_stop_blocking()
    assert vcpu.check_request(Request.UNHALT)
    vm.part().pending_irqs = 0
    assert vcpu.sleep.must_stop_blocking()
    assert not vcpu.check_request(Request.UNHALT)


async def test_r59_requests_are_looked_at_before_the_vcpu_can_sleep(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot, start=False)
    vcpu, order = vm.vcpus[0], []
    vcpu.make_request(WORK)
    vm.part().on_work = lambda vcpu: order.append("work")
    vm.at(0, Tracepoint.ASLEEP, lambda: order.append("asleep"))
    await vm.start()
    await vm.until(lambda: sleeps(vcpu))
    assert order == ["work", "asleep"]


@pytest.mark.parametrize("request_", [WORK, ToyRequest.IRQ_PENDING, Request.PENDING_TIMER, Request.SLEEP, Request.TLB_FLUSH])
async def test_r60_a_request_alone_does_not_end_a_block(scripted_vm, slot, request_):
    vm = await scripted_vm([], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    vcpu.make_request(request_)
    assert vcpu.wake_up()
    await vm.until(lambda: vcpu.stats.spurious_wakeups)
    await vm.until(lambda: sleeps(vcpu))
    assert vcpu.test_request(request_)
    vm.toy.raise_irq(0)
    await vm.until(lambda: not vcpu.test_request(request_))


async def test_r60_a_trap_may_halt_the_vcpu_as_wfi_does(scripted_vm, slot):
    halts = []

    def guest(vcpu):
        yield Call(ToyCall.HALT)
        halts.append(vm.vcpus[0].stats.halts)
        yield Spin()

    vm = await scripted_vm(guest, slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    assert not halts
    assert (vcpu.stats.halts, vcpu.stats.exits_by_reason[ExitReason.HALTED]) == (1, 1)
    vm.toy.raise_irq(0)
    await vm.until(lambda: halts)
    assert halts == [1], "once a call"


async def test_r60_an_interrupt_of_its_own_entry_keeps_it_from_sleeping(scripted_vm, slot):
    vm = await scripted_vm([Call(ToyCall.SEND_IRQ, (0,)), Call(ToyCall.HALT), Spin()], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: vcpu.stats.halts)
    assert not sum(vcpu.stats.halt_wait.buckets)


@pytest.mark.parametrize("point", [Tracepoint.BEFORE_SLEEP_CHECK, Tracepoint.ASLEEP])
async def test_r60_an_interrupt_at_the_edge_of_sleep_is_not_lost(scripted_vm, slot, point):
    vm = await scripted_vm([], slot=slot, start=False)
    vm.at(0, point, lambda: in_thread(lambda: vm.toy.raise_irq(0)))
    await vm.start()
    await vm.until(lambda: vm.vcpus[0].stats.halts and Tracepoint.WAKEUP in vm.points())


async def test_r60_a_paused_or_powered_off_vcpu_is_not_runnable(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    vm.part().pending_irqs = 1
    assert vcpu.sleep.runnable()
    vcpu.paused = True
    assert not vcpu.sleep.runnable()
    vcpu.paused, vcpu.powered_off = False, True
    assert not vcpu.sleep.runnable()


async def test_r63_unhalt_is_cleared_after_the_block_and_the_next_entry_succeeds_at_once(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot, start=False)
    vcpu, word = vm.vcpus[0], []
    await vm.start()
    await vm.until(lambda: sleeps(vcpu))
    # Bits may come with the interrupt; UNHALT is not to be among them.
    vm.at(0, Tracepoint.LOOP_TOP, lambda: word.append(vcpu.test_request(Request.UNHALT)))
    vm.toy.raise_irq(0)
    await vm.until(lambda: vm.guest().entries >= 2)
    assert word == [False]
    assert vcpu.stats.aborted_entries == 0


async def test_a_halt_that_need_not_wait_does_not_sleep(scripted_vm, slot):
    vm = await scripted_vm([HALTED, Spin()], slot=slot, start=False)
    vm.at(0, Tracepoint.ENTRY, lambda: vm.part().__setattr__("pending_irqs", 1))
    await vm.start()
    await vm.until(lambda: vm.guest().entries >= 2)
    assert Tracepoint.ASLEEP not in vm.points()
    assert vm.vcpus[0].stats.halts


async def test_blocking_and_unblocking_come_in_pairs(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot)
    for _ in range(3):
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        assert vm.part().blocks == vm.part().unblocks + 1
        vm.toy.raise_irq(0)
        await vm.until(lambda: not vm.vcpus[0].asleep)
        vm.part().pending_irqs = 0
    await vm.stop()
    assert vm.part().blocks == vm.part().unblocks


async def test_a_yield_never_sleeps(scripted_vm, slot):
    vm = await scripted_vm([YIELDED, YIELDED], slot=slot)
    await vm.until(lambda: sleeps(vm.vcpus[0]))
    assert vm.vcpus[0].stats.exits_by_reason[ExitReason.YIELDED] == 2
    assert vm.vcpus[0].stats.halts == 1


async def test_a_deadline_that_has_passed_ends_the_halt_at_once(scripted_vm):
    vm = await scripted_vm([Halted(0), Halted(5), Spin()])
    await vm.until(lambda: vm.guest().entries == 3)
    assert vm.clock.now_ns() >= 5


@pytest.mark.parametrize(
    ("maximum", "window", "halted_ns", "expected"),
    [
        (0, 0, 5, 0),
        (0, 10_000, 5, 0),
        (500_000, 10_000, 10_000, 10_000),  # within the window: keep
        (500_000, 10_000, 9_999, 10_000),
        (500_000, 0, 1, 10_000),  # grow from nothing
        (500_000, 10_000, 10_001, 20_000),
        (500_000, 400_000, 450_000, 500_000),  # capped
        (500_000, 500_000, 500_001, 0),  # longer than ever allowed: shrink
        (500_000, 20_000, 600_000, 0),
        (500_000, 0, 600_000, 0),
        (500_000, 20_000, 500_000, 20_000),  # exactly the maximum: keep
        (5_000, 0, 1, 5_000),
    ],
)
def test_how_the_polling_window_adapts(maximum, window, halted_ns, expected):
    poll = HaltPoll(maximum, window)
    poll.adapt(halted_ns)
    assert poll.window_ns == expected


async def _polling_vm(scripted_vm, clock: HandClock) -> ScriptedVm:
    vm = await scripted_vm([], clock=clock, halt_poll_ns=100_000, start=False)
    vm.vcpus[0].halt_poll.window_ns = 50_000
    return vm


async def test_a_poll_that_succeeds_spares_the_sleep(scripted_vm):
    clock = HandClock()
    vm = await _polling_vm(scripted_vm, clock)
    vcpu, polls = vm.vcpus[0], []

    def poll() -> None:
        polls.append(clock.now_ns())
        clock.advance(10_000)
        if len(polls) == 3:
            in_thread(lambda: vm.toy.raise_irq(0))

    vm.at(0, Tracepoint.POLL, poll, once=False)
    await vm.start()
    await vm.until(lambda: vcpu.stats.halt_successful_poll)
    assert len(polls) == 3
    assert Tracepoint.ASLEEP not in vm.points()
    assert (vcpu.stats.halt_attempted_poll, vcpu.stats.wakeups) == (1, 0)
    assert sum(vcpu.stats.halt_wait.buckets) == 0


async def test_a_poll_ends_with_its_window_and_the_vcpu_sleeps(scripted_vm):
    clock = HandClock()
    vm = await _polling_vm(scripted_vm, clock)
    vcpu = vm.vcpus[0]
    vm.at(0, Tracepoint.POLL, lambda: clock.advance(10_000), once=False)
    await vm.start()
    await vm.until(lambda: sleeps(vcpu))
    assert (vcpu.stats.halt_attempted_poll, vcpu.stats.halt_successful_poll) == (1, 0)
    assert vm.points().count(Tracepoint.POLL) == 5
    clock.advance(10_000)
    vm.toy.raise_irq(0)
    await vm.until(lambda: Tracepoint.WAKEUP in vm.points())
    assert vcpu.halt_poll.window_ns == 100_000
    assert sum(vcpu.stats.halt_wait.buckets) == 1


async def test_virtual_time_does_not_poll(scripted_vm):
    """The window would never end: time stands still while a vCPU looks."""
    vm = await scripted_vm([], halt_poll_ns=100_000, start=False)
    vm.vcpus[0].halt_poll.window_ns = 50_000
    await vm.start()
    await vm.until(lambda: sleeps(vm.vcpus[0]))
    assert Tracepoint.POLL not in vm.points()


async def test_a_kick_without_an_interrupt_is_counted_but_ends_nothing(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot)
    vcpu = vm.vcpus[0]
    for count in range(1, 4):
        await vm.until(lambda: sleeps(vcpu))
        vcpu.make_request_and_kick(ToyRequest.IRQ_PENDING)
        await vm.until(lambda count=count: vcpu.stats.spurious_wakeups == count)
    assert vcpu.stats.wakeups == 3
    assert Tracepoint.WAKEUP not in vm.points()
    assert vcpu.mode is VcpuMode.OUTSIDE_GUEST_MODE
