"""Failure in a vCPU or a device ends the VM in order, every vCPU really out; nothing a guest does raises on the host."""

from __future__ import annotations

import asyncio
import threading

import pytest

from avmm import HaltReason, State, VcpuMode, VmFailed
from avmm.exits import Debug, Fault
from avmm.plugin import Device, Undefined, Width
from avmm.testing import DEVICES_BASE, Call, MmioRead, MmioWrite, ReadSystemRegister, Script, ScriptedVcpu, ScriptedVm, Spin
from tests.sleepers import sleeps


def _all_out(vm: ScriptedVm) -> None:
    assert all(vcpu.mode is VcpuMode.OUTSIDE_GUEST_MODE for vcpu in vm.vcpus)
    assert not any(vm.guest(vcpu.index).in_guest for vcpu in vm.vcpus)
    assert vm.lifecycle.state is State.HALTED


async def test_a_handler_that_raises_ends_the_vm(scripted_vm, slot):
    vm = await scripted_vm([Spin()], vcpus=3, slot=slot)
    await vm.until(lambda: all(vm.guest(index).entries for index in range(3)))

    def broken(vcpu: object) -> None:
        raise ValueError("no such luck")

    vm.part(1).on_work = broken
    vm.vcpus[1].make_request_and_kick(10)
    with pytest.raises(VmFailed, match="no such luck") as failed:
        await vm.halted()
    assert isinstance(failed.value.__cause__, ValueError)
    _all_out(vm)


async def test_an_engine_that_raises_ends_the_vm(scripted_vm, slot):
    def guest(cpu: ScriptedVcpu) -> Script:
        yield Spin()
        raise RuntimeError("the engine broke")

    vm = await scripted_vm(guest, [Spin()], slot=slot)
    await vm.until(lambda: vm.guest(0).entries and vm.guest(1).entries)
    vm.toy.raise_irq(0)
    with pytest.raises(VmFailed, match="the engine broke"):
        await vm.halted()
    _all_out(vm)


async def test_a_failure_nobody_asks_for_comes_out_of_the_vm(slot):
    async def run() -> None:
        async with ScriptedVm([Spin()], slot=slot) as vm:
            await vm.start()
            vm.vcpus[0].make_request_and_kick(50)
            await vm.until(lambda: vm.lifecycle.state is State.HALTED)

    with pytest.raises(VmFailed, match="request 50"):
        await run()


async def test_a_failure_that_was_told_is_not_told_twice(slot):
    async with ScriptedVm([Spin()], slot=slot) as vm:
        await vm.start()
        vm.vcpus[0].make_request_and_kick(50)
        with pytest.raises(VmFailed):
            await vm.halted()


async def test_an_engine_fault_is_a_crash(scripted_vm, slot):
    vm = await scripted_vm([Fault("lost its way")], [Spin()], slot=slot)
    halt = await vm.halted()
    assert (halt.reason, halt.detail) == (HaltReason.CRASH, "vcpu 0: lost its way")
    _all_out(vm)


async def test_a_breakpoint_pauses_the_vm(scripted_vm, slot):
    vm = await scripted_vm([Debug(0x4000_0000), Spin()], slot=slot)
    await vm.until(lambda: vm.lifecycle.state is State.PAUSED and sleeps(vm.vcpus[0]))
    assert vm.guest().entries == 1
    await vm.resume()
    await vm.until(lambda: vm.guest().entries == 2)


class Fragile(Device):
    """A device that raises when written to."""

    size = 0x1000

    def __init__(self) -> None:
        self.running = self.cancelled = False

    def read(self, offset: int, width: Width) -> int:
        return 42

    def write(self, offset: int, width: Width, value: int) -> None:
        raise OSError("out of order")

    async def run(self) -> None:
        self.running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True


def _touches_it(cpu: ScriptedVcpu) -> Script:
    before = yield MmioRead(DEVICES_BASE)
    yield MmioWrite(DEVICES_BASE, 1)
    after = yield MmioRead(DEVICES_BASE)
    cpu.write_register("x0", before << 8 | after)
    yield Spin()


async def test_a_device_that_raises_is_quarantined_and_the_vm_goes_on(scripted_vm, slot):
    vm = await scripted_vm(_touches_it, slot=slot, devices={"fragile": lambda options: Fragile()})
    await vm.until(lambda: vm.guest().read_register("x0"))
    assert vm.guest().read_register("x0") == 42 << 8
    (region,) = vm.bus
    assert (region.quarantined, region.faults) == (True, 1)
    assert vm.lifecycle.state is State.RUNNING


async def test_or_the_vm_stops_if_it_is_to(scripted_vm, slot):
    vm = await scripted_vm(
        _touches_it, [Spin()], slot=slot, devices={"fragile": lambda options: Fragile()}, on_device_fault="stop"
    )
    halt = await vm.halted()
    assert halt.reason is HaltReason.CRASH
    assert "fragile" in halt.detail
    assert "out of order" in halt.detail
    _all_out(vm)
    assert vm.device("fragile").cancelled


async def test_what_a_guest_does_wrong_is_the_guests(scripted_vm, slot):
    caught: list[str] = []

    def guest(cpu: ScriptedVcpu) -> Script:
        assert (yield MmioRead(0x10)) == 0
        yield MmioWrite(0xFFFF_FFFF_FFFF_FFF0, 1, 8)
        for step in (ReadSystemRegister("no such"), Call(999)):
            try:
                yield step
            except Undefined as error:
                caught.append(str(error))
        yield ReadSystemRegister("nor this")

    vm = await scripted_vm(guest, [Spin()], slot=slot)
    halt = await vm.halted()
    assert caught == ["no such", "hypercall 999"]
    assert vm.bus.unclaimed == 2
    assert vm.guest_faults == {"hypercall": 1}
    assert (halt.reason, halt.detail) == (HaltReason.CRASH, "vcpu 0: the guest did not expect Undefined nor this")
    _all_out(vm)


async def test_a_failing_start_leaves_nothing_behind():
    before = threading.active_count()

    def broken(options: object) -> Device:
        raise ValueError("cannot be made")

    from avmm import PluginError

    with pytest.raises(PluginError, match="broken"):
        async with ScriptedVm([Spin()], slot="thread", devices={"broken": broken}):
            pass
    assert threading.active_count() == before
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("test")]
