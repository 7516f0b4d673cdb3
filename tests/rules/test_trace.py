"""What is traced and counted: entries and exits in pairs, kicks and wake-ups by what they came to."""

from __future__ import annotations

import pytest

from avmm import ExitReason, KickAction, Request
from avmm.exits import HALTED, YIELDED
from avmm.figure import BUCKETS, Histogram
from avmm.plugin import Tracepoint, Vcpu
from avmm.testing import Compute, MmioRead, ScriptedVm, Spin, ToyRequest, in_thread
from tests.sleepers import sleeps


async def test_entries_and_exits_come_in_pairs_and_aborted_entries_are_neither(scripted_vm, slot):
    vm: ScriptedVm = await scripted_vm([Compute(3), YIELDED, MmioRead(0), HALTED, Spin()], slot=slot, start=False)
    vcpu = vm.vcpus[0]
    for point in (Tracepoint.MODE_IN, Tracepoint.AFTER_LAST_CHECK):
        vm.at(0, point, lambda: in_thread(lambda: vcpu.make_request_and_kick(ToyRequest.WORK)))
    await vm.start()
    await vm.until(lambda: sleeps(vcpu))
    points = vm.points()
    assert points.count(Tracepoint.ENTRY) == points.count(Tracepoint.EXIT) == vcpu.stats.exits == vm.guest().entries
    assert points.count(Tracepoint.ENTRY_ABORTED) == vcpu.stats.aborted_entries == 1
    assert vcpu.stats.exits == sum(vcpu.stats.exits_by_reason[: ExitReason.FAULT + 1])
    assert vcpu.stats.exits_by_reason[ExitReason.MMIO_READ] == 1


async def test_every_pass_goes_through_its_points_in_order(scripted_vm, slot):
    vm = await scripted_vm([YIELDED, YIELDED, HALTED], slot=slot)
    await vm.until(lambda: Tracepoint.ASLEEP in vm.points())  # on its wait queue it is a little before
    one_pass = [
        Tracepoint.LOOP_TOP, Tracepoint.AFTER_REQUESTS, Tracepoint.IRQS_OFF, Tracepoint.MODE_IN,
        Tracepoint.AFTER_LAST_CHECK, Tracepoint.ENTRY, Tracepoint.EXIT,
    ]  # fmt: skip
    assert vm.points() == [*one_pass * 3, Tracepoint.BEFORE_SLEEP_CHECK, Tracepoint.ASLEEP]


def tell(vcpu: Vcpu) -> list[tuple[Tracepoint, int]]:
    """All that a tracer of `vcpu` is told from now on."""
    told: list[tuple[Tracepoint, int]] = []
    before = vcpu.trace

    def trace(point: Tracepoint, value: int) -> None:
        told.append((point, value))
        if before is not None:
            before(point, value)

    vcpu.trace = trace
    return told


async def test_a_tracer_is_told_of_requests_and_kicks_in_the_order_in_which_they_take_effect(scripted_vm, slot):
    vm: ScriptedVm = await scripted_vm([Spin()], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: vm.guest().spinning or (slot == "inline" and vm.guest().entries))
    told = tell(vcpu)
    in_thread(lambda: vcpu.make_request_and_kick(ToyRequest.WORK))
    await vm.until(lambda: not vcpu.request_pending())
    number = ToyRequest.WORK & 0xFF
    expected = [
        (Tracepoint.REQUEST_MADE, number),
        (Tracepoint.KICK, KickAction.IPI),
        (Tracepoint.EXIT, ExitReason.KICKED),
        (Tracepoint.REQUEST_HANDLED, number),
    ]
    if slot == "inline":  # between two slices, that is outside the guest: nothing to kick
        expected = [expected[0], (Tracepoint.KICK, KickAction.NOTHING), expected[3]]
    assert [event for event in told if event in expected or event[0] is Tracepoint.KICK] == expected


async def test_a_tracer_is_told_who_wakes_a_sleeper(scripted_vm, slot):
    vm: ScriptedVm = await scripted_vm([HALTED, HALTED, Spin()], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    told = tell(vcpu)
    in_thread(lambda: vcpu.make_request_and_kick(Request.UNBLOCK))
    await vm.until(lambda: vcpu.stats.halts == 2 and sleeps(vcpu))
    in_thread(vcpu.wake_up)
    await vm.until(lambda: vcpu.stats.spurious_wakeups)
    woken = [event for event in told if event[0] in (Tracepoint.KICK, Tracepoint.WOKEN)]
    assert woken == [(Tracepoint.KICK, KickAction.WAKEUP), (Tracepoint.WOKEN, 0)]


async def test_the_end_of_a_page_table_walk_is_told(scripted_vm):
    vm: ScriptedVm = await scripted_vm([Spin()], start=False)
    with vm.vcpus[0].reading_shadow_page_tables():
        assert vm.points() == [Tracepoint.READING]
    assert vm.points() == [Tracepoint.READING, Tracepoint.READ]


async def test_requests_made_are_handled_and_counted_by_number(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: vm.guest().entries)
    for request in (ToyRequest.WORK, ToyRequest.IRQ_PENDING, Request.TLB_FLUSH, Request.PENDING_TIMER):
        made, handled = vcpu.stats.requests_made[request & 0xFF], vcpu.stats.requests_handled[request & 0xFF]
        vcpu.make_request_and_kick(request)
        await vm.until(lambda: not vcpu.request_pending())
        assert vcpu.stats.requests_made[request & 0xFF] == made + 1
        await vm.until(lambda request=request, handled=handled: vcpu.stats.requests_handled[request & 0xFF] == handled + 1)
    assert vm.guest().tlb_flushes == 1


async def test_the_time_from_a_kick_to_the_exit_is_measured(scripted_vm):
    vm = await scripted_vm([Spin()], slot="thread")
    vcpu = vm.vcpus[0]
    for count in range(1, 4):
        await vm.until(lambda: vm.guest().spinning)
        vcpu.make_request_and_kick(ToyRequest.WORK)
        await vm.until(lambda count=count: sum(vcpu.stats.kick_to_exit.buckets) == count)
    assert vcpu.stats.kicks[KickAction.IPI] == 3
    assert vcpu.stats.kick_to_exit.sum_ns > 0


async def test_virtual_time_asleep_is_measured_exactly(scripted_vm):
    vm = await scripted_vm([HALTED])
    await vm.until(lambda: sleeps(vm.vcpus[0]))
    vm.clock.call_at(vm.clock.now_ns() + 1_000, lambda: vm.toy.raise_irq(0))
    await vm.until(lambda: Tracepoint.WAKEUP in vm.points())
    stats = vm.vcpus[0].stats
    assert stats.halt_wait.sum_ns == 1_000
    assert stats.halt_wait.buckets[10] == 1
    assert stats.halts >= 1


@pytest.mark.parametrize(
    ("ns", "bucket"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (1024, 11), (1 << 40, BUCKETS - 1)]
)
def test_histogram_buckets_are_powers_of_two(ns, bucket):
    histogram = Histogram()
    histogram.count(ns)
    assert histogram.buckets[bucket] == 1
    assert sum(histogram.buckets) == 1
    assert histogram.sum_ns == ns
