"""`smp_mode`: whether vCPUs execute guest code at the same time, and who decides."""

from __future__ import annotations

from typing import Literal

import pytest

from avmm import ConfigError, KickAction, MachineConfig, Request, Vm
from avmm.testing import ScriptedVm, Spin
from avmm.testing.vm import ToyPlugins

Mode = Literal["auto", "parallel", "turns"]


async def slots(mode: Mode, *, vcpus: int = 3, slot: Literal["thread", "inline"] = "thread", max_in_guest: int = 64) -> int:
    """How many a machine has."""
    engine = {"name": "scripted", "max_in_guest": max_in_guest}
    config = MachineConfig(arch="toy", engine=engine, vcpus=vcpus, memory="64K", slot=slot, smp_mode=mode)
    async with Vm(config, plugins=ToyPlugins({})) as vm:
        return len(vm.slots)


async def test_in_turns_there_is_one_slot() -> None:
    assert await slots("turns") == 1
    assert await slots("turns", slot="inline") == 1


@pytest.mark.parametrize("mode", ["auto", "parallel"])
async def test_as_many_slots_as_may_be_in_the_guest_at_once(mode: Mode) -> None:
    assert await slots(mode) == 3
    assert await slots(mode, max_in_guest=2) == 2


async def test_what_cannot_be_is_left_to_turns_unless_asked_for() -> None:
    assert await slots("auto", max_in_guest=1) == 1
    with pytest.raises(ConfigError, match="smp_mode: the scripted engine cannot run vCPUs in parallel here"):
        await slots("parallel", max_in_guest=1)
    with pytest.raises(ConfigError, match="smp_mode: vCPUs in parallel need slot = 'thread'"):
        await slots("parallel", slot="inline")


@pytest.mark.parametrize("mode", ["auto", "parallel", "turns"])
async def test_one_vcpu_needs_no_other(mode: Mode) -> None:
    assert await slots(mode, vcpus=1, max_in_guest=1) == 1


async def test_what_the_engine_did_by_itself_is_counted_as_requests() -> None:
    async with ScriptedVm([Spin()]) as vm:
        vcpu = vm.vcpus[0]
        vcpu.arch.traps.count_tlb_flushes(5, 3, 2)
        flush = Request.TLB_FLUSH & 0xFF
        assert (vcpu.stats.requests_made[flush], vcpu.stats.requests_handled[flush]) == (5, 3)
        assert (vcpu.stats.kicks[KickAction.IPI], vcpu.stats.kicks[KickAction.NOTHING]) == (2, 3)
        assert vcpu.stats.ipis_acknowledged == 2
