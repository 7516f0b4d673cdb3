"""Everything at once: requesters on threads, power, pauses, more vCPUs than slots, guests that do as they please."""

from __future__ import annotations

import asyncio
import random

import pytest

from avmm import WAIT, Request, VcpuMode
from avmm.exits import HALTED, YIELDED
from avmm.testing import Compute, ReadSystemRegister, Script, ScriptedVcpu, ScriptedVm, Spin, ToyRequest

VCPUS, REQUESTERS, ROUNDS, PAUSES = 4, 3, 6_000, 100
WAIT_S = 60
WORK = ToyRequest.WORK


def _guest(cpu: ScriptedVcpu) -> Script:
    dice = random.Random(cpu.index)
    while True:
        yield dice.choice([Compute(dice.randrange(1, 20_000)), HALTED, YIELDED, ReadSystemRegister("irq_ack"), Spin()])


def _requester(vm: ScriptedVm, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        vcpu = vm.vcpus[dice.randrange(VCPUS)]
        match dice.randrange(8):
            case 0 | 1:
                vm.toy.raise_irq(vcpu.index)
            case 2:
                vcpu.make_request_and_kick(WORK)
            case 3:
                assert vm.make_all_cpus_request(Request.TLB_FLUSH).wait(WAIT_S)
            case 4:
                assert vm.make_all_cpus_request(WORK | WAIT).wait(WAIT_S)
            case 5:
                assert vm.make_all_cpus_request(Request.OUTSIDE_GUEST_MODE).wait(WAIT_S)
            case 6:
                vcpu.power_off()
            case _:
                vcpu.power_on()


@pytest.mark.parametrize("max_in_guest", [1, 2, 4])
@pytest.mark.parametrize("halt_poll_ns", [0, 50_000])
async def test_no_request_is_lost_and_nobody_is_stuck(scripted_vm, slot, max_in_guest, halt_poll_ns, eager_threads):
    vm: ScriptedVm = await scripted_vm(
        _guest, vcpus=VCPUS, slot=slot, max_in_guest=max_in_guest, halt_poll_ns=halt_poll_ns, start=False
    )
    vm.tracing = False
    await vm.start()

    async def pauser() -> None:
        for _ in range(PAUSES):
            async with vm.paused():
                assert not any(vm.guest(index).in_guest for index in range(VCPUS))
            await vm.passes(10)

    await asyncio.gather(*(asyncio.to_thread(_requester, vm, seed) for seed in range(REQUESTERS)), pauser())
    for vcpu in vm.vcpus:
        vcpu.power_on()
        vcpu.make_request(WORK)
        vm.toy.raise_irq(vcpu.index)
    await vm.until(lambda: not any(vcpu.test_request(WORK) for vcpu in vm.vcpus))
    await vm.stop()
    assert all(vcpu.mode is VcpuMode.OUTSIDE_GUEST_MODE for vcpu in vm.vcpus)
    assert all(sum(vcpu.stats.kicks) > ROUNDS // 4 for vcpu in vm.vcpus)
