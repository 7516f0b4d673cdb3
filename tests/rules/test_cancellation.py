"""Cancelling an entry: it ends only once the guest is really out."""

from __future__ import annotations

import asyncio
import threading

import pytest

from avmm import KickAction, VcpuMode
from avmm.plugin import Tracepoint
from avmm.testing import Compute, Script, ScriptedVcpu, ScriptedVm, Spin
from tests.sleepers import sleeps


def _task(vm: ScriptedVm, index: int = 0) -> asyncio.Task[object]:
    return next(task for task in asyncio.all_tasks() if task.get_name() == f"test-vcpu{index}")


@pytest.mark.parametrize("times", [1, 5])
async def test_a_cancelled_entry_ends_with_the_guest_out(scripted_vm, times):
    """The guest is slow to leave, and cancellation is asked for again and again meanwhile."""
    leave, inside = threading.Event(), threading.Event()

    def stubborn(cpu: ScriptedVcpu) -> Script:
        yield Compute(1)
        inside.set()
        assert leave.wait(60)
        yield Spin()

    vm = await scripted_vm(stubborn, slot="thread")
    await asyncio.to_thread(inside.wait)
    task = _task(vm)
    for _ in range(times):
        task.cancel()
        await vm.passes(5)
    assert not task.done()
    assert vm.guest().in_guest
    assert vm.vcpus[0].mode is VcpuMode.IN_GUEST_MODE  # OUTSIDE is never claimed while guest code runs
    assert vm.slots[0].vcpu is vm.vcpus[0]  # nor is its slot given away
    leave.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not vm.guest().in_guest
    assert vm.vcpus[0].mode is VcpuMode.OUTSIDE_GUEST_MODE
    assert vm.slots[0].vcpu is None


@pytest.mark.parametrize("point", [Tracepoint.LOOP_TOP, Tracepoint.IRQS_OFF, Tracepoint.MODE_IN, Tracepoint.AFTER_LAST_CHECK])
async def test_cancelled_on_the_way_in(scripted_vm, slot, point):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    tasks: list[asyncio.Task[object]] = []

    def cancel() -> None:
        tasks.append(_task(vm))
        tasks[0].cancel()

    vm.at(0, point, cancel)
    await vm.start()
    await vm.until(lambda: tasks and tasks[0].done())
    assert tasks[0].cancelled()
    assert vm.vcpus[0].mode is VcpuMode.OUTSIDE_GUEST_MODE
    assert not vm.guest().in_guest
    assert vm.slots[0].vcpu is None


async def test_cancelled_as_the_guest_leaves_by_itself(scripted_vm):
    vm = await scripted_vm([Compute(1)], slot="thread", start=False)
    out, go = threading.Event(), threading.Event()
    vm.at(0, Tracepoint.EXIT, lambda: (out.set(), go.wait(60)))
    await vm.start()
    await asyncio.to_thread(out.wait)
    task = _task(vm)
    task.cancel()
    await vm.passes(3)
    assert not task.done()  # the slot's thread has not come back yet
    go.set()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_cancelled_asleep(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot)
    await vm.until(lambda: sleeps(vm.vcpus[0]))
    task = _task(vm)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not vm.vcpus[0].asleep
    assert vm.part().blocks == vm.part().unblocks


async def test_cancelled_while_it_waits_for_a_slot(scripted_vm, slot):
    vm = await scripted_vm([Spin()], vcpus=3, slot=slot, max_in_guest=1)
    await vm.until(lambda: any(vm.guest(index).entries for index in range(3)))
    await vm.passes(3)
    waiting = next(vcpu for vcpu in vm.vcpus if vm.slots[0].vcpu is not vcpu)
    task = _task(vm, waiting.index)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    others = [vcpu for vcpu in vm.vcpus if vcpu is not waiting]
    entries = [vm.guest(vcpu.index).entries for vcpu in others]
    for vcpu in others:  # the slot still goes round among the others
        vcpu.make_request_and_kick(10)
    await vm.until(lambda: all(vm.guest(vcpu.index).entries > before for vcpu, before in zip(others, entries, strict=True)))


async def test_the_slot_serves_on_after_a_cancelled_entry(scripted_vm):
    vm = await scripted_vm([Spin()], vcpus=2, slot="thread", max_in_guest=1)
    await vm.until(lambda: vm.guest(0).entries and vm.guest(1).entries)
    task = _task(vm, 0)
    task.cancel()
    await asyncio.wait([task])
    entries = vm.guest(1).entries
    for _ in range(3):
        await vm.until(lambda: vm.guest(1).spinning)
        vm.vcpus[1].make_request_and_kick(10)
        await vm.until(lambda entries=entries: vm.guest(1).entries > entries)
        entries = vm.guest(1).entries
    assert vm.vcpus[1].stats.kicks[KickAction.IPI] >= 3


async def test_the_whole_vm_is_cancelled(slot):
    """Whoever runs the VM is cancelled: every vCPU is out before `async with` is left."""
    started = asyncio.Event()
    vms: list[ScriptedVm] = []

    async def run() -> None:
        async with ScriptedVm([Spin()], [], vcpus=3, slot=slot) as vm:
            vms.append(vm)
            await vm.start()
            await vm.until(lambda: vm.guest(0).entries)
            started.set()
            await vm.halted()

    task = asyncio.ensure_future(run())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(vcpu.mode is VcpuMode.OUTSIDE_GUEST_MODE for vcpu in vms[0].vcpus)
    assert not any(vms[0].guest(index).in_guest for index in range(3))
    assert all(vms[0].guest(index).closed for index in range(3))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-slot")]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("test-")]


async def test_leaving_the_vm_is_cancelled(slot):
    """Cancellation in the middle of taking down is not swallowed, and leaves nothing running."""
    vms: list[ScriptedVm] = []
    leaving = asyncio.Event()

    async def run() -> None:
        async with ScriptedVm([Spin()], slot=slot) as vm:
            vms.append(vm)
            await vm.start()
            await vm.until(lambda: vm.guest().entries)
            asyncio.get_running_loop().call_soon(leaving.set)

    task = asyncio.ensure_future(run())
    await leaving.wait()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert vms[0].guest().closed
