"""`instructions = N`: what a vCPU may execute, and the end behind it."""

from __future__ import annotations

import pytest

from avmm import ConfigError, Halt, HaltReason, MachineConfig
from avmm.testing import Call, Compute, ScriptedVm, Spin, ToyCall

ENDLESS = [Spin()]
ENOUGH = Halt(HaltReason.STOPPED, "vcpu 0 executed 12345 instructions")


async def test_n_means_n(slot):
    async with ScriptedVm(ENDLESS, slot=slot, instructions=12_345) as vm:
        await vm.start()
        assert await vm.halted() == ENOUGH
        assert vm.guest().instructions == 12_345


async def test_whatever_comes_between(slot):
    async with ScriptedVm(ENDLESS, slot=slot, instructions=12_345) as vm:
        await vm.start()
        for _ in range(20):
            await vm.flush_remote_tlbs()
        assert await vm.halted() == ENOUGH
        assert vm.guest().instructions == 12_345


async def test_resets_do_not_begin_anew(slot):
    async with ScriptedVm([Compute(100), Call(ToyCall.RESET)], slot=slot, instructions=12_345) as vm:
        await vm.start()
        assert await vm.halted() == ENOUGH
        assert vm.guest().instructions == 12_345
        assert vm.toy.boots > 100


async def test_a_guest_that_ends_before_ends_as_it_does(slot):
    async with ScriptedVm([Compute(100), Call(ToyCall.SHUTDOWN)], slot=slot, instructions=12_345) as vm:
        await vm.start()
        assert (await vm.halted()).reason is HaltReason.SHUTDOWN


@pytest.mark.parametrize("instructions", [0, -1, 1 << 63])
def test_how_many_there_may_be(instructions: int) -> None:
    with pytest.raises(ConfigError, match="instructions"):
        MachineConfig(instructions=instructions)
