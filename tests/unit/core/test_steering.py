"""Steering from outside: what is done to a VM, and what its state does not allow."""

from __future__ import annotations

import asyncio

import pytest

from avmm import HaltReason, LifecycleError
from avmm.clock import VirtualClock
from avmm.errors import NotThere
from avmm.exits import HALTED, YIELDED
from avmm.plugin import MAX_STEP, Device, StepResult, SystemEvent, Width
from avmm.testing import Call, Compute, ScriptedVm, Spin, ToyCall
from avmm.vcpu.mode import Tracepoint
from tests.sleepers import sleeps

ENDLESS = [Spin()]


async def paused(vm: ScriptedVm) -> None:
    await vm.start()
    await vm.until(lambda: vm.guest().entries)
    await vm.steering.pause()


async def test_a_step_executes_exactly_so_many_instructions(slot):
    async with ScriptedVm(ENDLESS, slot=slot) as vm:
        await paused(vm)
        guest = vm.guest()
        before = guest.instructions
        assert await vm.steering.step(12_345) == [StepResult(0, 12_345, "budget")]
        assert await vm.steering.step(1, 0) == [StepResult(0, 1, "budget")]
        assert guest.instructions - before == 12_346
        assert vm.state() == "paused"
        entries = guest.entries
        await vm.passes()
        assert guest.entries == entries


async def test_a_vm_steps_by_itself():
    async with ScriptedVm(ENDLESS) as vm:
        await paused(vm)
        assert await vm.step(7) == [StepResult(0, 7, "budget")]


async def test_counting_is_as_it_was_before_the_step():
    async with ScriptedVm([Spin(), Compute(50)], slot="thread") as vm:
        await paused(vm)
        await vm.steering.step(10)
        await vm.steering.resume()
        vm.toy.raise_irq(0)  # ends Spin()
        await vm.until(lambda: vm.vcpus[0].stats.halts)
        assert vm.guest().instructions == 10


async def test_without_a_vcpu_each_that_is_powered_on_makes_a_step():
    async with ScriptedVm(ENDLESS, ENDLESS, ENDLESS) as vm:
        await paused(vm)
        vm.vcpus[1].power_off()
        assert await vm.steering.step(7) == [StepResult(0, 7, "budget"), StepResult(2, 7, "budget")]
        with pytest.raises(LifecycleError, match="vcpu 1 is powered off"):
            await vm.steering.step(7, 1)


async def test_a_halt_ends_a_step(slot):
    async with ScriptedVm([YIELDED, Spin(), HALTED, Compute(100)], slot=slot) as vm:
        await vm.start()
        await vm.until(lambda: vm.guest().entries)
        await vm.steering.pause()
        vm.toy.raise_irq(0)  # ends Spin()
        [first] = await vm.steering.step(1_000)
        assert first.ended == "halted"
        vm.part().acknowledge_irq()
        assert await vm.steering.step(1_000) == [StepResult(0, 0, "halted")]
        vm.toy.raise_irq(0)
        assert await vm.steering.step(5) == [StepResult(0, 5, "budget")]


async def test_the_guest_may_power_off_its_vcpu_in_a_step():
    async with ScriptedVm([Spin(), Call(ToyCall.CPU_OFF), *ENDLESS]) as vm:
        await paused(vm)
        vm.toy.raise_irq(0)
        [result] = await vm.steering.step(1_000)
        assert result.ended == "off"


async def test_the_end_of_the_run_ends_a_step(slot):
    async with ScriptedVm([Spin()], slot=slot) as vm:
        await paused(vm)
        vm.at(0, Tracepoint.ENTRY, lambda: vm.system_event(SystemEvent.SHUTDOWN))
        assert await vm.steering.step(MAX_STEP) == [StepResult(0, 0, "over")]


async def test_a_reset_ends_a_step_and_leaves_the_vm_paused(slot):
    async with ScriptedVm([Spin()], slot=slot) as vm:
        await paused(vm)
        vm.at(0, Tracepoint.ENTRY, vm.steering.reset)
        assert await vm.steering.step(MAX_STEP) == [StepResult(0, 0, "over")]
        await vm.until(lambda: vm.toy.boots == 2 and vm.state() == "paused")
        assert await vm.steering.step(3) == [StepResult(0, 3, "budget")]


async def test_a_cancelled_step_leaves_the_vcpu_paused():
    async with ScriptedVm(ENDLESS) as vm:
        await paused(vm)
        step = asyncio.create_task(vm.steering.step(MAX_STEP))
        await vm.until(lambda: vm.vcpus[0].step is not None)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        await vm.until(lambda: vm.vcpus[0].step is None)
        executed = vm.guest().instructions
        await vm.passes()
        assert vm.guest().instructions == executed < MAX_STEP
        assert await vm.steering.step(2) == [StepResult(0, 2, "budget")]


async def test_virtual_time_passes_with_the_instructions_of_a_step():
    async with ScriptedVm(ENDLESS) as vm:
        await paused(vm)
        assert isinstance(vm.clock, VirtualClock)
        before_ns = vm.clock.now_ns()
        await vm.steering.step(25_000)
        assert vm.clock.now_ns() - before_ns == 25_000


async def test_what_a_state_does_not_allow():
    async with ScriptedVm([Spin()]) as vm:
        for early in (vm.steering.reset, vm.steering.power_off, lambda: vm.steering.pulse_irq(0)):
            with pytest.raises(LifecycleError, match="is init"):
                early()
        await vm.start()
        with pytest.raises(LifecycleError, match="running cannot be stepped: pause it first"):
            await vm.steering.step(1)
        with pytest.raises(LifecycleError, match="running cannot be reached: pause it first"):
            await vm.steering.registers(0)
        with pytest.raises(LifecycleError):
            await vm.steering.resume()
        await vm.steering.pause()
        with pytest.raises(LifecycleError):
            await vm.steering.pause()
        for wrong in (0, MAX_STEP + 1):
            with pytest.raises(ValueError, match="instructions"):
                await vm.steering.step(wrong)
        with pytest.raises(NotThere, match="no vcpu 1: 0 to 0"):
            await vm.steering.step(1, 1)


async def test_registers_of_a_vcpu_at_rest():
    async with ScriptedVm([Spin()]) as vm:
        await vm.steering.set_register(0, "x3", (1 << 64) - 1)
        assert await vm.steering.register(0, "x3") == (1 << 64) - 1
        await paused(vm)
        registers = await vm.steering.registers(0)
        assert list(registers)[:2] == ["x0", "x1"]
        assert "pstate" in registers
        for wrong in ("x31", "X0", ""):
            with pytest.raises(NotThere, match="vcpu 0 has no register"):
                await vm.steering.register(0, wrong)
            with pytest.raises(NotThere, match="vcpu 0 has no register"):
                await vm.steering.set_register(0, wrong, 0)
        with pytest.raises(ValueError, match="64 bits"):
            await vm.steering.set_register(0, "x0", 1 << 64)


async def test_memory_and_its_edges():
    async with ScriptedVm([Spin()]) as vm:
        [ram] = vm.memory
        vm.steering.write_memory(ram.end - 4, b"abcd")
        assert vm.steering.read_memory(ram.end - 4, 4) == b"abcd"
        for address, size in ((ram.end - 3, 4), (0, 1), (ram.address, -1)):
            with pytest.raises(NotThere, match="guest memory has no"):
                vm.steering.read_memory(address, size)
        with pytest.raises(NotThere, match="guest memory has no 2 bytes"):
            vm.steering.write_memory(ram.end - 1, b"ab")


async def test_interrupt_inputs_are_driven_and_pulsed():
    async with ScriptedVm([HALTED]) as vm:
        await vm.start()
        vm.steering.set_irq(3, level=True)
        assert vm.toy.levels == 1 << 3
        vm.steering.set_irq(3, level=False)
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        vm.steering.pulse_irq(0)
        assert vm.toy.levels == 0
        for wrong in (-1, 16):
            with pytest.raises(NotThere, match="no interrupt input"):
                vm.steering.set_irq(wrong, level=True)


async def test_switching_off_is_an_end_like_the_guests_own():
    async with ScriptedVm([Spin()]) as vm:
        await vm.start()
        vm.steering.power_off()
        halt = await vm.halted()
        assert (halt.reason, halt.detail) == (HaltReason.SHUTDOWN, "switched off from outside")
        await vm.steering.stop()
        with pytest.raises(LifecycleError, match="halted"):
            vm.steering.reset()


class Button(Device):
    """A device with a power button."""

    size = 0x10

    def __init__(self, *, broken: bool = False) -> None:
        self.presses: list[bool] = []
        self._broken = broken
        self.power_button = self._press

    def _press(self) -> None:
        self.presses.append(True)
        if self._broken:
            raise RuntimeError("stuck")

    def read(self, offset: int, width: Width) -> int:
        return 0

    def write(self, offset: int, width: Width, value: int) -> None:
        pass


async def test_the_power_button_is_pressed_while_the_machine_runs_or_is_paused():
    async with ScriptedVm(ENDLESS) as vm:
        button = Button()
        vm.bus.add(0x1000, button, "button")
        with pytest.raises(LifecycleError, match="init cannot be asked to shut down"):
            vm.steering.press_power_button()
        await paused(vm)
        vm.steering.press_power_button()
        await vm.steering.resume()
        vm.steering.press_power_button()
        assert button.presses == [True, True]
        assert vm.state() == "running"
        vm.steering.power_off()
        await vm.halted()
        with pytest.raises(LifecycleError, match="halted cannot be asked to shut down"):
            vm.steering.press_power_button()


async def test_a_machine_without_a_power_button_says_how_to_get_one():
    async with ScriptedVm(ENDLESS) as vm:
        await vm.start()
        with pytest.raises(NotThere, match=r"no power button: add the device pl061 \(--device pl061\)"):
            vm.steering.press_power_button()


async def test_a_power_button_that_raises_is_quarantined():
    async with ScriptedVm(ENDLESS) as vm:
        button = Button(broken=True)
        region = vm.bus.add(0x1000, button, "button")
        await vm.start()
        vm.steering.press_power_button()
        assert region.quarantined
        with pytest.raises(NotThere):
            vm.steering.press_power_button()
        assert button.presses == [True]


async def test_two_who_steer_take_turns():
    async with ScriptedVm(ENDLESS) as vm:
        await vm.start()
        await asyncio.gather(vm.steering.pause(), vm.steering.step(3), vm.steering.step(4), vm.steering.resume())
        assert vm.state() == "running"
