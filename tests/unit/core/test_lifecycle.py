"""The life of a VM: every pair of states, legal or not; and a VM's own life on top of it."""

from __future__ import annotations

import itertools

import pytest

from avmm import Halt, HaltReason, LifecycleError, State, VmFailed
from avmm.lifecycle import Lifecycle
from avmm.testing import Call, ScriptedVm, Spin, ToyCall
from tests.sleepers import sleeps

LEGAL = {
    ("init", "running"),
    ("init", "halted"),
    ("running", "paused"),
    ("running", "reset"),
    ("running", "halted"),
    ("paused", "running"),
    ("paused", "reset"),
    ("paused", "halted"),
    ("reset", "running"),
    ("reset", "paused"),
    ("reset", "halted"),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)), ids=lambda state: state.value)
def test_every_pair_of_states(before, after):
    lifecycle = Lifecycle()
    lifecycle.state = before
    if (before.value, after.value) in LEGAL:
        lifecycle.move(after)
        assert lifecycle.state is after
    else:
        with pytest.raises(LifecycleError, match=f"{before.value} cannot become {after.value}"):
            lifecycle.move(after)
        assert lifecycle.state is before


async def test_from_start_to_stop(slot):
    async with ScriptedVm([Spin()], slot=slot) as vm:
        assert vm.state() == "init"
        with pytest.raises(RuntimeError, match="never started"):
            await vm.halted()
        await vm.start()
        assert vm.state() == "running"
        with pytest.raises(LifecycleError):
            await vm.start()
        await vm.pause()
        assert vm.state() == "paused"
        with pytest.raises(LifecycleError):
            await vm.pause()
        await vm.resume()
        with pytest.raises(LifecycleError):
            await vm.resume()
        await vm.stop("enough")
        assert vm.state() == "halted"
        halt = await vm.halted()
        assert (halt.reason, halt.detail) == (HaltReason.STOPPED, "enough")
        await vm.stop()  # harmless
        assert await vm.halted() == halt


async def test_never_started(slot):
    async with ScriptedVm([Spin()], slot=slot) as vm:
        await vm.stop()
    assert vm.state() == "halted"
    with pytest.raises(RuntimeError, match="only inside"):
        _ = ScriptedVm([]).machine


async def test_left_while_it_runs(slot):
    async with ScriptedVm([Spin()], slot=slot) as vm:
        await vm.start()
    assert vm.state() == "halted"
    assert (await vm.halted()).reason is HaltReason.STOPPED
    assert vm.guest().closed


async def test_a_pause_that_ends_with_the_vm_is_no_error(slot):
    async with ScriptedVm([Spin()], slot=slot) as vm:
        await vm.start()
        async with vm.paused():
            await vm.stop()
        assert vm.state() == "halted"


async def test_a_guest_that_resets_begins_anew(slot):
    async with ScriptedVm([Call(ToyCall.RESET), Spin()], slot=slot) as vm:
        await vm.start()
        await vm.until(lambda: vm.toy.boots == 4)
        assert vm.state() in ("running", "reset")
        await vm.stop()
        assert vm.part().resets >= 4
        assert (await vm.halted()).reason is HaltReason.STOPPED


async def test_or_ends_with_it(slot):
    async with ScriptedVm([Call(ToyCall.RESET), Spin()], slot=slot, on_reset="exit") as vm:
        await vm.start()
        assert (await vm.halted()).reason is HaltReason.RESET
        assert vm.toy.boots == 1


async def test_a_vm_paused_across_its_reset_stays_paused():
    from avmm.plugin import SystemEvent

    async with ScriptedVm([Spin()]) as vm:
        await vm.start()
        await vm.until(lambda: vm.guest().entries)
        await vm.pause()
        vm.system_event(SystemEvent.RESET)
        await vm.until(lambda: vm.toy.boots == 2)
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        entries = vm.guest().entries
        await vm.passes()
        assert (vm.state(), vm.guest().entries) == ("paused", entries)
        await vm.resume()
        await vm.until(lambda: vm.guest().entries > entries)


async def test_what_a_state_forbids_changes_nothing():
    from avmm.plugin import SystemEvent

    async with ScriptedVm([Spin()]) as vm:
        for refused in (vm.resume, vm.pause):
            with pytest.raises(LifecycleError, match="the VM is init"):
                await refused()
        assert vm.state() == "init"
        await vm.start()
        await vm.pause()
        for refused in (vm.start, vm.pause):
            with pytest.raises(LifecycleError, match="the VM is paused"):
                await refused()
        assert vm.toy.boots == 1, "nothing was booted anew"
        vm.system_event(SystemEvent.RESET)
        await vm.until(lambda: vm.state() == "reset" or vm.toy.boots == 2)
        await vm.until(lambda: vm.state() == "paused")
        await vm.resume()
        assert vm.state() == "running"


async def test_the_first_event_says_why(slot):
    from avmm.plugin import SystemEvent

    async with ScriptedVm([Spin()], slot=slot) as vm:
        await vm.start()
        vm.system_event(SystemEvent.CRASH, "first")
        vm.system_event(SystemEvent.SHUTDOWN, "second")
        halt = await vm.halted()
        assert (halt.reason, halt.detail) == (HaltReason.CRASH, "first")


async def test_who_watches_is_told_how_it_ended(slot):
    async with ScriptedVm([Spin()], slot=slot) as vm:
        seen = []
        vm.lifecycle.watch(lambda state: seen.append((state, vm.halt)))
        await vm.start()
        await vm.stop("enough")
        halt = Halt(HaltReason.STOPPED, "enough")
        assert seen == [(State.RUNNING, None), (State.HALTED, halt)]
        assert str(halt) == "stopped (enough)"


async def test_or_what_failed(slot):
    async with ScriptedVm([Spin()], slot=slot) as vm:
        await vm.start()
        vm.vcpus[0].make_request_and_kick(50)
        with pytest.raises(VmFailed):
            await vm.halted()
        assert vm.halt is not None
        assert (vm.halt.reason, "request 50" in vm.halt.detail) == (HaltReason.FAILED, True)


async def test_two_vms_in_one_loop(slot):
    async with ScriptedVm([Spin()], slot=slot, name="one") as one, ScriptedVm([Spin()], slot=slot, name="two") as two:
        await one.start()
        await two.start()
        await one.until(lambda: one.guest().entries)
        await two.until(lambda: two.guest().entries)
        await one.stop()
        assert two.state() == "running"
