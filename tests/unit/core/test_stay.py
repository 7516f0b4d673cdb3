"""A vCPU between two entries: on its slot's thread when it has the slot for itself, else with its task."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest

from avmm.plugin import Tracepoint
from avmm.testing import ScriptedVm, Spin
from tests.sleepers import sleeps


def threads_at(vm: ScriptedVm, point: Tracepoint) -> list[str]:
    """A list that grows by the thread's name whenever vCPU 0 passes `point`."""
    names: list[str] = []
    vm.at(0, point, lambda: names.append(threading.current_thread().name), once=False)
    return names


async def test_alone_on_its_slot_it_sleeps_on_the_slots_thread() -> None:
    async with ScriptedVm([], slot="thread") as vm:
        asleep = threads_at(vm, Tracepoint.ASLEEP)
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        vm.toy.raise_irq(0)
        await vm.until(lambda: vm.guest().entries > 1)
        assert set(asleep) == {"test-slot0"}


async def test_with_others_on_its_slot_its_task_sleeps() -> None:
    async with ScriptedVm([], [], slot="thread", max_in_guest=1) as vm:
        asleep = threads_at(vm, Tracepoint.ASLEEP)
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        assert asleep[-1] == threading.current_thread().name


async def test_a_pause_needs_the_task() -> None:
    async with ScriptedVm([Spin()], slot="thread") as vm:
        await vm.start()
        await vm.until(lambda: vm.guest().entries)
        asleep = threads_at(vm, Tracepoint.ASLEEP)
        await vm.pause()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        assert asleep == [threading.current_thread().name]
        await vm.resume()


@pytest.mark.parametrize("program", [[Spin()], []], ids=["spinning", "asleep"])
async def test_cancelled_it_comes_back_from_the_thread(program: list[Spin]) -> None:
    async with ScriptedVm(program, slot="thread") as vm:
        await vm.start()
        vcpu = vm.vcpus[0]
        await vm.until(lambda: sleeps(vcpu) or vm.guest().in_guest)
        recalled: list[bool] = []
        kick = vcpu.engine.kick

        def kicked() -> None:
            recalled.append(vcpu.recalled)
            kick()

        vcpu.engine.kick = kicked  # type: ignore[method-assign]
        assert vm._run.task is not None
        vm._run.task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(vm._run.task), 60)
        assert recalled == [True], "recalled first, then kicked"
