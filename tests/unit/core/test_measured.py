"""What is measured of requests, exits, halts and waits, on a clock that the tests move."""

from __future__ import annotations

import pytest

from avmm import WAIT, ExitReason, Request
from avmm.clock import VirtualClock
from avmm.exits import HALTED, YIELDED, Exit
from avmm.plugin import SystemEvent, Tracepoint
from avmm.testing import Spin, ToyRequest, in_thread
from tests.sleepers import sleeps

WORK = ToyRequest.WORK


class HandClock(VirtualClock):
    """A clock that only the test moves."""

    is_host = True

    def guest_ran(self, instructions: int) -> None:
        pass

    def idle(self) -> None:
        pass


class CountedClock(HandClock):
    """Counts how often somebody asks for the time."""

    asked = 0

    def now_ns(self) -> int:
        self.asked += 1
        return super().now_ns()


def count(histogram) -> int:
    return sum(histogram.buckets)


async def test_a_request_is_timed_from_its_making_to_its_taking_up(scripted_vm):
    vm = await scripted_vm([], clock=HandClock())
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    vcpu.time_requests()
    vcpu.make_request(WORK)  # nobody is told
    vm.clock.advance(700)
    vm.toy.raise_irq(0)
    await vm.until(lambda: vm.part().work_done)
    latency = vcpu.stats.request_latency[WORK & 0xFF]
    assert (count(latency), latency.sum_ns, latency.buckets[10], latency.last_ns[10]) == (1, 700, 1, 700)


async def test_only_the_next_request_of_each_number_is_timed_and_the_others_need_no_clock(scripted_vm):
    vm = await scripted_vm([], clock=CountedClock(), start=False)
    vcpu = vm.vcpus[0]
    for asked in (2, 4):
        vcpu.time_requests()
        for _ in range(5):
            vcpu.make_request(WORK)
            vcpu.check_request(WORK)
        assert vm.clock.asked == asked
    assert count(vcpu.stats.request_latency[WORK & 0xFF]) == 2
    vcpu.make_request(Request.TLB_FLUSH)
    vcpu.check_request(Request.TLB_FLUSH)
    assert count(vcpu.stats.request_latency[Request.TLB_FLUSH & 0xFF]) == 1, "each number has its own turn"


async def test_nothing_is_timed_that_nobody_asked_for(scripted_vm):
    vm = await scripted_vm([], clock=CountedClock(), start=False)
    vm.vcpus[0].make_request(WORK)
    assert vm.vcpus[0].check_request(WORK)
    assert vm.clock.asked == 0


async def test_a_halt_s_own_request_is_not_timed(scripted_vm):
    vm = await scripted_vm([HALTED, Spin()], clock=HandClock())
    await vm.until(lambda: sleeps(vm.vcpus[0]))
    vm.vcpus[0].time_requests()
    vm.toy.raise_irq(0)
    await vm.until(lambda: vm.vcpus[0].stats.requests_handled[Request.UNHALT & 0xFF])
    assert Request.UNHALT & 0xFF not in vm.vcpus[0].stats.request_latency


async def test_requests_made_before_one_is_taken_up_are_timed_from_the_first(scripted_vm):
    vm = await scripted_vm([], clock=HandClock(), start=False)
    vcpu = vm.vcpus[0]
    for _ in range(3):
        vcpu.time_requests()
        vcpu.make_request(WORK)
        vm.clock.advance(100)
    assert vcpu.check_request(WORK)
    latency = vcpu.stats.request_latency[WORK & 0xFF]
    assert (count(latency), latency.sum_ns) == (1, 300)


@pytest.mark.parametrize("how", ["cleared", "discarded"])
async def test_a_request_that_is_never_taken_up_leaves_no_time_behind(scripted_vm, how):
    vm = await scripted_vm([], clock=HandClock(), start=False)
    vcpu = vm.vcpus[0]
    vcpu.time_requests()
    vcpu.make_request(WORK)
    vcpu.clear_request(WORK) if how == "cleared" else vcpu.discard_requests()
    vm.clock.advance(10**9)
    vcpu.make_request(WORK)  # not timed: nobody has asked
    assert vcpu.check_request(WORK)
    assert WORK & 0xFF not in vcpu.stats.request_latency


async def test_an_exit_s_handling_is_timed_by_its_reason_until_the_next_entry(scripted_vm):
    vm = await scripted_vm([YIELDED, YIELDED, HALTED, Spin()], clock=HandClock(), start=False)
    handling = vm.vcpus[0].stats.exit_handling
    vm.at(0, Tracepoint.EXIT, lambda: vm.clock.advance(30), once=False)
    guest = vm.guest()
    enter = guest.enter

    def long_enter(budget: int) -> Exit:
        vm.clock.advance(10**9)
        return enter(budget)

    guest.enter = long_enter
    await vm.start()
    await vm.until(lambda: sleeps(vm.vcpus[0]))
    assert (count(handling[ExitReason.YIELDED]), handling[ExitReason.YIELDED].sum_ns) == (2, 60)
    vm.clock.advance(10**6)
    vm.toy.raise_irq(0)
    await vm.until(lambda: vm.guest().entries == 4)
    assert handling[ExitReason.HALTED].sum_ns == 30, "the time asleep is not the host's"


async def test_what_lies_between_two_runs_is_no_handling_of_an_exit(scripted_vm):
    vm = await scripted_vm([HALTED, Spin()], clock=HandClock())
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    vm.system_event(SystemEvent.RESET)
    await vm.until(lambda: vcpu.stats.exits == 2)
    assert ExitReason.HALTED not in vcpu.stats.exit_handling


async def test_the_requester_s_wait_is_timed_to_each_acknowledgement(scripted_vm):
    vm = await scripted_vm([Spin()], vcpus=2, clock=HandClock(start_ns=10**6), slot="thread")
    await vm.until(lambda: all(vm.guest(index).spinning for index in range(2)))
    for index in range(2):
        slow_kick(vm, index)
    acks = in_thread(lambda: vm.make_all_cpus_request(WORK | WAIT))
    await acks
    first, second = (vcpu.stats.request_wait for vcpu in vm.vcpus)
    assert count(first) == count(second) == 1
    assert first.sum_ns in (500, 1000), "it may have been out before the other was kicked, or not"
    assert second.sum_ns == 1000, "the requester has been waiting since it kicked the first"


def slow_kick(vm, index: int) -> None:
    """Let 500 ns pass between an IPI's sending and its arrival."""
    guest = vm.guest(index)
    kick = guest.kick

    def slow() -> None:
        vm.clock.advance(500)
        kick()

    guest.kick = slow


async def test_polling_is_timed_by_what_it_came_to(scripted_vm):
    vm = await scripted_vm([HALTED, HALTED, Spin()], clock=HandClock(), halt_poll_ns=100_000, start=False)
    vcpu = vm.vcpus[0]
    stats = vcpu.stats
    vcpu.halt_poll.window_ns = 50_000

    def poll() -> None:
        vm.clock.advance(20_000)
        if stats.halt_attempted_poll == 1 and vm.clock.now_ns() >= 40_000:
            vm.toy.raise_irq(0)

    vm.at(0, Tracepoint.POLL, poll, once=False)
    await vm.start()
    await vm.until(lambda: stats.halt_successful_poll)
    assert (stats.halt_poll_success_ns, stats.halt_poll_fail_ns) == (40_000, 0)
    vm.part().pending_irqs = 0
    await vm.until(lambda: sleeps(vcpu))
    assert (stats.halt_poll_success_ns, stats.halt_poll_fail_ns) == (40_000, 60_000)
