"""Virtual time while vCPUs sleep."""

from __future__ import annotations

import pytest

from avmm.exits import HALTED
from avmm.testing import Compute, ReadSystemRegister, ScriptedVm, Spin, in_thread
from tests.sleepers import sleeps


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
    vm = await scripted_vm([])
    await vm.until(lambda: sleeps(vm.vcpus[0]))
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
            await vm.until(lambda: all(sleeps(vcpu) for vcpu in vm.vcpus) and vm.guest(1).entries == 2)
            return [list(vm.trace_log), vm.clock.now_ns(), [vcpu.stats.guest_ns for vcpu in vm.vcpus]]

    assert await run() == await run()
