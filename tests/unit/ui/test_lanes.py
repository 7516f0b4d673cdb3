"""Lanes: what vCPUs did between two looks, exactly while that is little, and never more than a page can show."""

from __future__ import annotations

from itertools import count, pairwise

from avmm.exits import HALTED, YIELDED
from avmm.plugin import Device, DeviceOptions, KickAction, Request, Tracepoint, Width
from avmm.testing import MmioWrite, ScriptedVm, Spin, in_thread
from avmm_control.ui.lanes import CHANGES, HOST, KICKS, NO_REQUEST, WOKEN, LaneRecorder, LaneState
from tests.sleepers import sleeps

IN, OUT, HALT = LaneState.GUEST, LaneState.OUTSIDE, LaneState.HALTED


def recorder(vm: ScriptedVm) -> LaneRecorder:
    """With a clock on which every look at it is later than the one before."""
    return LaneRecorder(vm, count(1000, 10).__next__)


def states(stretch) -> list[LaneState]:
    return [state for _, state in stretch.changes]


async def test_each_change_is_there_with_its_time():
    async with ScriptedVm([YIELDED, YIELDED, HALTED]) as vm:
        lanes = recorder(vm)
        lanes.watch([0])
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        look = lanes.look()
        [stretch] = look.stretches
        assert states(stretch) == [LaneState.OFF, OUT, IN, OUT, IN, OUT, IN, OUT, HALT]
        times = [at for at, _ in stretch.changes]
        assert all(earlier < later for earlier, later in pairwise(times))
        assert look.from_ns <= times[0] <= times[-1] <= stretch.exact_until_ns == look.to_ns
        assert (stretch.guest_ns, stretch.asleep_ns) == (0, 0)


async def test_the_next_look_begins_where_this_one_ends():
    async with ScriptedVm([HALTED]) as vm:
        lanes = recorder(vm)
        lanes.watch([0])
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        first, second = lanes.look(), lanes.look()
        assert second.from_ns == first.to_ns
        assert second.stretches[0].changes == [(first.to_ns, HALT)]


async def test_a_fast_guest_is_recorded_up_to_a_limit_then_as_shares_and_then_anew():
    async with ScriptedVm([YIELDED] * 1000) as vm:
        vm.vcpus[0].trace = None
        lanes = recorder(vm)
        lanes.watch([0])
        await vm.start()
        await vm.until(lambda: vm.vcpus[0].stats.exits >= 500)
        assert vm.vcpus[0].trace is None, "the tracer takes itself away"
        before_ns = vm.vcpus[0].stats.guest_ns
        look = lanes.look()
        [stretch] = look.stretches
        assert len(stretch.changes) == CHANGES + 1
        assert stretch.exact_until_ns == stretch.changes[-1][0] < look.to_ns
        guest_ns = sum(end - start for (start, state), (end, _) in pairwise(stretch.changes) if state is IN)
        assert stretch.guest_ns == max(0, before_ns - guest_ns)
        assert vm.vcpus[0].trace is not None, "it is back for the next look"
        exits = vm.vcpus[0].stats.exits
        await vm.until(lambda: vm.vcpus[0].stats.exits >= exits + 3)
        assert len(lanes.look().stretches[0].changes) > 4


class Bell(Device):
    """A write makes a request of vCPU 1 and kicks it."""

    size = 0x1000

    def __init__(self, _: DeviceOptions) -> None:
        self.ring = lambda: None

    def read(self, offset: int, width: Width) -> int:
        return 0

    def write(self, offset: int, width: Width, value: int) -> None:
        self.ring()


async def test_a_kick_leads_from_whoever_made_it_and_says_what_for():
    async with ScriptedVm([MmioWrite(0x1000_0000, 1), Spin()], [HALTED, Spin()], devices={"bell": Bell}) as vm:
        lanes = recorder(vm)
        lanes.watch([0, 1])
        target = vm.vcpus[1]
        vm.device("bell").ring = lambda: target.make_request_and_kick(Request.TLB_FLUSH)
        await vm.start()
        await vm.until(lambda: target.stats.requests_handled[Request.TLB_FLUSH.value & 0xFF])
        [kick] = [one for one in lanes.look().kicks if one.source != HOST]
        assert (kick.source, kick.target, kick.request) == (0, 1, Request.TLB_FLUSH & 0xFF)
        in_thread(lambda: target.make_request_and_kick(Request.MMU_RELOAD))
        [kick] = lanes.look().kicks
        assert (kick.source, kick.target, kick.request) == (HOST, 1, Request.MMU_RELOAD & 0xFF)
        assert kick.action in set(KickAction)


async def test_a_request_that_the_vcpu_made_itself_is_not_what_a_later_kick_is_for():
    async with ScriptedVm([HALTED, HALTED, HALTED]) as vm:
        lanes = recorder(vm)
        lanes.watch([0])
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        vm.at(0, Tracepoint.WAKEUP, lambda: setattr(vm.part(0), "pending_irqs", 0))
        vm.toy.raise_irq(0)  # UNHALT is made, and handled
        await vm.until(lambda: vm.guest(0).entries == 2 and sleeps(vm.vcpus[0]))
        lanes.look()
        vm.vcpus[0].wake_up(kicked=True)
        vm.vcpus[0].wake_up()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        vm.vcpus[0].wake_up()
        assert [(kick.action, kick.request) for kick in lanes.look().kicks] == [
            (KickAction.WAKEUP, NO_REQUEST),
            (WOKEN, NO_REQUEST),
        ]


async def test_kicks_beyond_the_limit_are_counted():
    async with ScriptedVm([HALTED]) as vm:
        lanes = recorder(vm)
        lanes.watch([0])
        for _ in range(KICKS + 7):
            vm.vcpus[0].make_request_and_kick(Request.UNBLOCK)
        look = lanes.look()
        assert (len(look.kicks), look.kicks_left_out) == (KICKS, 7)
        assert (lanes.look().kicks, lanes.look().kicks_left_out) == ((), 0)


async def test_a_pause_shows_on_those_who_sleep_through_it():
    async with ScriptedVm([HALTED]) as vm:
        lanes = recorder(vm)
        lanes.watch([0])
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        lanes.look()
        await vm.pause()
        assert states(lanes.look().stretches[0])[-1] is LaneState.PAUSED
        await vm.resume()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        assert states(lanes.look().stretches[0])[-1] is HALT


async def test_a_powered_off_vcpu_is_off():
    async with ScriptedVm([Spin()], [Spin()], boot="first") as vm:
        lanes = recorder(vm)
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[1]))
        lanes.watch([0, 1])
        assert states(lanes.look().stretches[1]) == [LaneState.OFF]


async def test_only_those_watched_are_traced_and_none_in_the_end():
    async with ScriptedVm([Spin()], [Spin()], [Spin()]) as vm:
        for vcpu in vm.vcpus:
            vcpu.trace = None
        lanes = recorder(vm)
        lanes.watch([0, 1])
        lanes.watch([1, 2])
        assert [vcpu.trace is not None for vcpu in vm.vcpus] == [False, True, True]
        assert [stretch.vcpu for stretch in lanes.look().stretches] == [1, 2]
        lanes.stop()
        assert [vcpu.trace for vcpu in vm.vcpus] == [None, None, None]
        assert lanes.look().stretches == ()


async def test_a_full_lane_that_is_watched_no_more_stays_away():
    async with ScriptedVm([Spin()]) as vm:
        vcpu = vm.vcpus[0]
        vcpu.trace = None
        lanes = recorder(vm)
        lanes.watch([0])
        assert vcpu.trace is not None
        for _ in range(CHANGES):
            vcpu.trace(Tracepoint.ENTRY, 0)
            vcpu.trace(Tracepoint.EXIT, 0)
        lanes.stop()
        await vm.passes()
        assert vcpu.trace is None
