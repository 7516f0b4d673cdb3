"""Power off and on, pause and resume, and the end of the VM."""

from __future__ import annotations

import asyncio

import pytest

from avmm import HaltReason, Request, VcpuMode
from avmm.plugin import Tracepoint
from avmm.testing import Call, Script, ScriptedVcpu, Spin, ToyCall, ToyRequest, in_thread
from avmm.testing import vm as scripted
from tests.sleepers import sleeps


async def test_a_powered_off_vcpu_does_not_run_until_powered_on(scripted_vm, slot):
    vm = await scripted_vm([Spin()], vcpus=2, slot=slot, boot="first")
    await vm.until(lambda: vm.guest(0).entries and sleeps(vm.vcpus[1]))
    assert [vcpu.powered_off for vcpu in vm.vcpus] == [False, True]
    assert vm.guest(1).entries == 0
    in_thread(vm.vcpus[1].power_on)
    await vm.until(lambda: vm.guest(1).entries)


async def test_power_off_takes_a_running_vcpu_out(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: vm.guest().entries)
    in_thread(vcpu.power_off)
    await vm.until(lambda: sleeps(vcpu))
    entries = vm.guest().entries
    vm.toy.raise_irq(0)  # wakes it, and it sleeps again: no interrupt powers a vCPU on
    await vm.until(lambda: vcpu.stats.wakeups == 1 and sleeps(vcpu))
    assert vm.guest().entries == entries
    vcpu.power_on()
    await vm.until(lambda: vm.guest().entries > entries)


async def test_a_vcpu_powers_itself_off_and_another_powers_it_on(scripted_vm, slot):
    def first(cpu: ScriptedVcpu) -> Script:
        yield Call(ToyCall.CPU_OFF)
        yield Call(ToyCall.SHUTDOWN)

    def second(cpu: ScriptedVcpu) -> Script:
        yield Spin()
        yield Call(ToyCall.CPU_ON, (0,))

    vm = await scripted_vm(first, second, slot=slot)
    await vm.until(lambda: sleeps(vm.vcpus[0]))
    assert vm.vcpus[0].powered_off
    vm.toy.raise_irq(1)
    assert (await vm.halted()).reason is HaltReason.SHUTDOWN


async def test_a_stale_sleep_request_is_harmless(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    await vm.until(lambda: vm.guest().entries)
    for _ in range(3):
        vm.vcpus[0].make_request_and_kick(Request.SLEEP)
        entries = vm.guest().entries
        await vm.until(lambda entries=entries: vm.guest().entries > entries)
    assert vm.vcpus[0].stats.wakeups == 0


async def test_off_and_on_again_before_the_vcpu_looks(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    vcpu = vm.vcpus[0]
    vm.at(0, Tracepoint.AFTER_REQUESTS, lambda: in_thread(lambda: (vcpu.power_off(), vcpu.power_on())))
    await vm.start()
    await vm.until(lambda: vm.guest().entries)
    assert vcpu.stats.aborted_entries == 1


async def test_halt_guest_returns_when_nobody_executes_guest_code(scripted_vm):
    """One in the guest, one halted, one powered off: only the first is waited for, and nobody is woken."""
    vm = await scripted_vm([Spin()], [], [], slot="thread")
    running, halted, off = vm.vcpus
    off.power_off()
    await vm.until(lambda: vm.guest(0).spinning and sleeps(halted) and sleeps(off))
    wakeups = [vcpu.stats.wakeups for vcpu in vm.vcpus]
    acks = vm.halt_guest()
    assert acks.ipis == 1
    await acks
    assert not any(vm.guest(index).in_guest for index in range(3))
    await vm.until(lambda: sleeps(running))
    assert [vcpu.stats.wakeups for vcpu in vm.vcpus] == wakeups
    # An interrupt for the halted one is not lost, but waits for the end of the pause.
    entries = vm.guest(1).entries
    vm.toy.raise_irq(1)
    await vm.until(lambda: halted.stats.spurious_wakeups and sleeps(halted))
    assert vm.guest(1).entries == entries
    vm.resume_guest()
    await vm.until(lambda: vm.guest(1).entries > entries and vm.guest(0).spinning)
    assert off.asleep


async def test_none_can_enter_while_halted(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    vcpu = vm.vcpus[0]
    acks = []
    vm.at(0, Tracepoint.MODE_IN, lambda: acks.append(in_thread(vm.halt_guest)))
    await vm.start()
    await vm.until(lambda: sleeps(vcpu))
    assert await acks[0] is True
    vcpu.make_request_and_kick(ToyRequest.WORK)
    await vm.passes()
    assert vm.guest().entries == 0
    vm.resume_guest()
    await vm.until(lambda: vm.guest().entries)


async def test_pauses_nest(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.halt_guest()
    await vm.halt_guest()
    await vm.until(lambda: sleeps(vcpu))
    entries = vm.guest().entries
    vm.resume_guest()
    await vm.passes()
    assert vcpu.asleep
    vm.resume_guest()
    await vm.until(lambda: vm.guest().entries > entries)


async def test_pause_takes_no_virtual_time(scripted_vm):
    vm = await scripted_vm([], start=False)
    await vm.start()
    await vm.until(lambda: sleeps(vm.vcpus[0]))
    fired: list[int] = []
    async with vm.paused():
        vm.clock.call_at(vm.clock.now_ns() + 1_000, lambda: fired.append(vm.clock.now_ns()))
        await vm.passes(50)
        assert fired == []
    await vm.until(lambda: fired)


@pytest.mark.parametrize("state", ["halted", "powered off", "paused", "running", "polling"])
async def test_the_end_of_the_vm_wakes_whoever_sleeps(scripted_vm, slot, state):
    vm = await scripted_vm([Spin()] if state == "running" else [], slot=slot)
    vcpu = vm.vcpus[0]
    if state == "running":
        await vm.until(lambda: vm.guest().entries)
    else:
        await vm.until(lambda: sleeps(vcpu))
    if state == "powered off":
        vcpu.power_off()
        vcpu.make_request_and_kick(Request.UNBLOCK)
        await vm.until(lambda: Tracepoint.WAKEUP in vm.points() and sleeps(vcpu))
    if state == "paused":
        await vm.pause()
        vcpu.make_request_and_kick(Request.UNBLOCK)
        await vm.until(lambda: Tracepoint.WAKEUP in vm.points() and sleeps(vcpu))
    try:
        await asyncio.wait_for(vm.stop(), scripted.WATCHDOG_S)
    finally:  # whatever went wrong, let the test come to its end
        vcpu.paused = vcpu.powered_off = False
        vcpu.wake_up()
    halt = await vm.halted()
    assert halt.reason is HaltReason.STOPPED
    assert vcpu.mode is VcpuMode.OUTSIDE_GUEST_MODE
    assert not vcpu.asleep


async def test_vm_dead_made_anywhere_ends_the_loop(scripted_vm, slot):
    for point in (
        Tracepoint.LOOP_TOP,
        Tracepoint.AFTER_REQUESTS,
        Tracepoint.MODE_IN,
        Tracepoint.AFTER_LAST_CHECK,
        Tracepoint.ENTRY,
    ):
        vm = await scripted_vm([Spin()], slot=slot, start=False)
        vm.at(0, point, lambda vm=vm: in_thread(lambda: vm.make_all_cpus_request(Request.VM_DEAD)))
        await vm.start()
        await vm.halted()
        assert vm.vcpus[0].test_request(Request.VM_DEAD)  # left standing: nothing may run the guest again


async def test_a_system_event_lets_no_vcpu_enter_again(scripted_vm, slot):
    vm = await scripted_vm([Call(ToyCall.SHUTDOWN), Spin()], [Spin()], [], slot=slot)
    halt = await vm.halted()
    assert halt.reason is HaltReason.SHUTDOWN
    assert [vcpu.mode for vcpu in vm.vcpus] == [VcpuMode.OUTSIDE_GUEST_MODE] * 3
    assert vm.guest(0).entries == 1
