"""Steering a VM from outside: what may be done to it, and when. One at a time, whoever asks.

Everything is to be called on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from avmm.arch import SystemEvent
from avmm.console import Console
from avmm.devattr import AttributeValue
from avmm.errors import LifecycleError, NotThere
from avmm.instrument import ObservedVm
from avmm.lifecycle import State
from avmm.memory import GuestMemory
from avmm.record import Record
from avmm.snapshot import VmSnapshot, take_snapshot
from avmm.vcpu.mode import VcpuMode
from avmm.vcpu.step import Step, StepEnd

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu

MAX_STEP = 100_000_000
"""Instructions of one step at most: some seconds."""
_WORD = 1 << 64


class SteeredVm(ObservedVm, Protocol):
    """The VM as a controller sees it: all that can be observed, and what can be done to it."""

    memory: GuestMemory
    console: Console
    steering: Steering
    notices: list[str]
    """Lines for whoever starts the VM, like where a page is; instruments add to them as they start."""


class SteerableVm(ObservedVm, Protocol):
    """What `Steering` needs of a VM."""

    memory: GuestMemory

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    async def stop(self, detail: str = "stopped") -> None: ...

    def system_event(self, event: SystemEvent, detail: str = "", status: int = 0) -> None: ...


class StepResult(Record):
    """How a step of one vCPU went."""

    vcpu: int
    instructions: int
    """How many were executed."""
    ended: str
    """Why it ended, as `StepEnd` says: `budget`, `halted`, `off`, `debug`, `fault` or `over`."""


class Steering:
    """Steers one VM. What the VM's state does not allow is a LifecycleError, what does not exist a NotThere."""

    def __init__(self, vm: SteerableVm) -> None:
        self._vm = vm
        self._turn = asyncio.Lock()

    # Life.

    async def pause(self) -> None:
        """Quiesce a running VM: every vCPU outside the guest, every device at rest."""
        async with self._turn:
            await self._vm.pause()

    async def resume(self) -> None:
        """Let a paused VM go on."""
        async with self._turn:
            await self._vm.resume()

    async def step(self, instructions: int, vcpu: int | None = None) -> list[StepResult]:
        """Have a paused VM's vCPU execute `instructions` (1 to `MAX_STEP`), or less when something else ends the step.

        Without `vcpu`, all that are powered on do so, one after the other. Devices rest meanwhile; host time does not.
        """
        if not 1 <= instructions <= MAX_STEP:
            raise ValueError(f"{instructions} is not from 1 to {MAX_STEP} instructions")
        async with self._turn:
            if self._vm.lifecycle.state is not State.PAUSED:
                raise LifecycleError(f"a VM that is {self._vm.state()} cannot be stepped: pause it first")
            if vcpu is None:
                chosen = [one for one in self._vm.vcpus if not one.powered_off]
            elif self._vcpu(vcpu).powered_off:
                raise LifecycleError(f"vcpu {vcpu} is powered off")
            else:
                chosen = [self._vcpu(vcpu)]
            results = []
            for one in chosen:
                results.append(await self._step(one, instructions))
                if results[-1].ended == StepEnd.OVER.value:
                    break
            return results

    async def _step(self, vcpu: Vcpu, instructions: int) -> StepResult:
        self._outside(vcpu)
        step = Step(vcpu, instructions, counting=self._vm.config.counting)
        ended = await step.run()
        return StepResult(vcpu.index, step.executed, ended.value)

    def reset(self) -> None:
        """Reset the machine; it ends instead when its description says so (`on_reset`). Returns at once."""
        self._living("reset")
        self._vm.system_event(SystemEvent.RESET, "asked for from outside")

    def power_off(self) -> None:
        """Switch the machine off, as when the guest asks for it. Returns at once; the guest is not told before."""
        self._living("switched off")
        self._vm.system_event(SystemEvent.SHUTDOWN, "switched off from outside")

    def press_power_button(self) -> None:
        """Ask the guest to shut down, by the machine's power button. Returns at once; what comes of it is the guest's choice.

        NotThere when the machine has none.
        """
        self._living("asked to shut down")
        if not self._vm.bus.press_power_button():
            raise NotThere("this machine has no power button: add the device pl061 (--device pl061)")

    async def stop(self, detail: str = "stopped from outside") -> None:
        """End the VM from the host's side, and wait until every vCPU is out. Harmless when it is over."""
        await self._vm.stop(detail)

    def _living(self, what: str) -> None:
        if self._vm.lifecycle.state in (State.INIT, State.HALTED):
            raise LifecycleError(f"a VM that is {self._vm.state()} cannot be {what}")

    # Interrupts.

    def set_irq(self, number: int, *, level: bool) -> None:
        """Drive shared input `number` of the interrupt controller (0-based; INTID 32 + number on a GIC), as KVM_IRQ_LINE does.

        An input that a device drives too is at the level that either set last.
        """
        self._irq(number)
        with self._vm.device_lock:
            self._vm.arch.irq_chip.set_spi_level(number, level)

    def pulse_irq(self, number: int) -> None:
        """Raise shared input `number` and put it back: one edge."""
        self._irq(number)
        with self._vm.device_lock:
            chip = self._vm.arch.irq_chip
            lines = [region.irq for region in self._vm.bus if region.irq is not None and region.irq.number == number]
            chip.set_spi_level(number, level=True)
            chip.set_spi_level(number, level=any(line.level for line in lines))

    def _irq(self, number: int) -> None:
        if not 0 <= number < self._vm.arch.irq_inputs:
            raise NotThere(f"there is no interrupt input {number}: 0 to {self._vm.arch.irq_inputs - 1}")
        self._living("interrupted")

    # Registers, while no vCPU can enter the guest.

    async def registers(self, vcpu: int) -> dict[str, int]:
        """All registers of vCPU `vcpu` by name, unsigned, up to 64 bits. Not while the VM runs."""
        async with self._at_rest(vcpu) as one:
            found = {}
            for name in one.arch.register_names:
                try:
                    found[name] = one.engine.read_register(name)
                except KeyError:  # this engine has no such register
                    continue
            return found

    async def register(self, vcpu: int, name: str) -> int:
        """One register of vCPU `vcpu`. Not while the VM runs."""
        async with self._at_rest(vcpu) as one:
            try:
                return one.engine.read_register(name)
            except KeyError:
                raise NotThere(f"vcpu {vcpu} has no register {name}") from None

    async def set_register(self, vcpu: int, name: str, value: int) -> None:
        """Set a register of vCPU `vcpu` (0 to 2**64 - 1). Not while the VM runs."""
        if not 0 <= value < _WORD:
            raise ValueError(f"{value} does not fit 64 bits")
        async with self._at_rest(vcpu) as one:
            try:
                one.engine.write_register(name, value)
            except KeyError:
                raise NotThere(f"vcpu {vcpu} has no register {name}") from None

    @asynccontextmanager
    async def _at_rest(self, index: int) -> AsyncIterator[Vcpu]:
        """The vCPU, outside the guest for as long as the `async with` lasts, which must not await."""
        vcpu = self._vcpu(index)
        async with self._turn:
            if self._vm.lifecycle.state in (State.RUNNING, State.RESET):
                raise LifecycleError(f"the registers of a VM that is {self._vm.state()} cannot be reached: pause it first")
            self._outside(vcpu)
            yield vcpu

    def _outside(self, vcpu: Vcpu) -> None:
        if vcpu.mode is not VcpuMode.OUTSIDE_GUEST_MODE or vcpu.step is not None:
            raise LifecycleError(f"vcpu {vcpu.index} is in the guest")

    def _vcpu(self, index: int) -> Vcpu:
        if not 0 <= index < len(self._vm.vcpus):
            raise NotThere(f"there is no vcpu {index}: 0 to {len(self._vm.vcpus) - 1}")
        return self._vm.vcpus[index]

    # Memory, at any time: the guest may be writing meanwhile.

    def read_memory(self, address: int, size: int) -> bytes:
        """`size` bytes of guest memory at guest physical `address`."""
        try:
            return self._vm.memory.read(address, size)
        except ValueError as error:
            raise NotThere(str(error)) from None

    def write_memory(self, address: int, data: bytes) -> None:
        """Store `data` at guest physical `address`.

        Code that is overwritten may still be executed as it was, until the guest maintains its instruction cache.
        """
        try:
            self._vm.memory.write(address, data)
        except ValueError as error:
            raise NotThere(str(error)) from None

    # Device attributes.

    def attribute(self, vcpu: int, group: int | str, attribute: int | str) -> int:
        """The value of a device attribute of vCPU `vcpu`; OperationRefused when it cannot be read (KVM_GET_DEVICE_ATTR)."""
        return self._vcpu(vcpu).get_attr(group, attribute)

    def has_attribute(self, vcpu: int, group: int | str, attribute: int | str) -> bool:
        """True when vCPU `vcpu` has such a device attribute (KVM_HAS_DEVICE_ATTR)."""
        return self._vcpu(vcpu).has_attr(group, attribute)

    def set_attribute(self, vcpu: int, group: int | str, attribute: int | str, value: AttributeValue = None) -> None:
        """Set a device attribute of vCPU `vcpu`; OperationRefused when that cannot be (KVM_SET_DEVICE_ATTR)."""
        self._vcpu(vcpu).set_attr(group, attribute, value)

    def attributes(self, vcpu: int) -> Mapping[str, list[str]]:
        """The names of the device attributes of vCPU `vcpu`, by group."""
        groups = self._vcpu(vcpu).arch.attribute_groups
        return {name: [one for one in group.attributes if self.has_attribute(vcpu, name, one)] for name, group in groups.items()}

    # What there is to see.

    def snapshot(self) -> VmSnapshot:
        """The VM now."""
        return take_snapshot(self._vm)
