"""A VM's run: the task under which vCPUs and devices live, from power-on to the end, resets included."""

from __future__ import annotations

import asyncio
from typing import Protocol

from avmm.arch import BootImage, SystemEvent
from avmm.builder import Machine
from avmm.device_tasks import DeviceTasks
from avmm.errors import AvmmError, VmFailed, first_failure
from avmm.halt import Halt, HaltReason
from avmm.instrument import ObservedVm
from avmm.lifecycle import State
from avmm.loader import load_kernel
from avmm.log import EventLogger
from avmm.memory import GuestMemory
from avmm.vcpu.kicker import make_vcpus_request
from avmm.vcpu.requests import Request

_HALT_REASON: dict[SystemEvent | None, HaltReason] = {
    None: HaltReason.STOPPED,
    SystemEvent.SHUTDOWN: HaltReason.SHUTDOWN,
    SystemEvent.RESET: HaltReason.RESET,
    SystemEvent.CRASH: HaltReason.CRASH,
}


class RunnableVm(ObservedVm, Protocol):
    """What `Run` needs of a VM."""

    memory: GuestMemory
    device_tasks: DeviceTasks

    @property
    def machine(self) -> Machine: ...


class Run:
    """The run of one VM. Owned by the event loop; `end()` may be called on any thread."""

    def __init__(self, vm: RunnableVm, log: EventLogger) -> None:
        self._vm, self._log = vm, log
        self.task: asyncio.Task[Halt] | None = None
        """None until it is started."""
        self._event: tuple[SystemEvent | None, str, int] | None = None
        self._failure_told = False

    def start(self) -> None:
        """Power on and run the guest. LoadError or ConfigError when it cannot."""
        vm = self._vm
        vm.lifecycle.require(State.INIT)
        vm.arch.check()
        self._power_on()
        vm.lifecycle.move(State.RUNNING)
        self._log.info("vm started", vcpus=len(vm.vcpus), memory=vm.config.memory)
        self.task = asyncio.create_task(self._run(), name=vm.name)

    def end(self, event: SystemEvent | None, detail: str, status: int = 0) -> None:
        """End the run, or have it begin again where `event` is a reset; None is the host's own word."""
        # Who comes first says why; the host's own word also overrides a reset.
        if self._event is None or (event is None and self._event[0] is SystemEvent.RESET):
            self._event = (event, detail, status)
        make_vcpus_request(self._vm.vcpus, Request.VM_DEAD)

    async def halted(self) -> Halt:
        """See `Vm.halted`."""
        if self.task is None:
            raise RuntimeError("the VM was never started")
        try:
            return await asyncio.shield(self.task)
        finally:
            self._failure_told |= self.task.done()

    async def stop(self, detail: str) -> None:
        """See `Vm.stop`."""
        self.end(None, detail)
        if self.task is not None:
            await asyncio.wait([self.task])

    async def close(self) -> None:
        """Stop, and wait for the task through any number of cancellations: nothing may run behind our back."""
        task = self.task
        if task is None:
            if self._vm.lifecycle.state is State.INIT:
                self._vm.lifecycle.move(State.HALTED)
            return
        self.end(None, "closed")
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
                task.cancel()
        if cancelled is not None:
            raise cancelled

    def raise_untold(self) -> None:
        """Raise what made a run that is over fail, unless `halted()` has told."""
        if not self._failure_told and self.task is not None and not self.task.cancelled():
            self.task.result()

    def _power_on(self) -> None:
        """Bring everything to its state after power-on, and the guest's image into memory."""
        vm, arch, config = self._vm, self._vm.arch, self._vm.config
        vm.bus.reset()
        with vm.device_lock:
            arch.reset()
        for vcpu in vm.vcpus:
            vcpu.arch.reset()
            vcpu.power_off()
        image = BootImage(arch.image_base, arch.image_base, config.append, config.initrd)
        if config.kernel is not None and config.firmware is None:
            kernel = load_kernel(config.kernel, vm.memory, elf_machine=arch.elf_machine, image_base=arch.image_base)
            image = BootImage(kernel.entry, kernel.end, config.append, config.initrd)
        arch.boot(image, vm.machine.devices)

    async def _run(self) -> Halt:
        """The VM's own task."""
        vm = self._vm
        try:
            async with asyncio.TaskGroup() as roof:
                devices = vm.device_tasks.start(roof, vm.name)
                halt = await self._run_guest()
                for task in devices:
                    task.cancel()
                vm.halt = halt
        except ExceptionGroup as group:  # the task boundary: the failure is the VM's, told to whoever asks for its end
            failure = first_failure(group)
            what = str(failure) if isinstance(failure, AvmmError) else f"{type(failure).__name__}: {failure}"
            vm.halt = Halt(HaltReason.FAILED, what)
            self._log.error("vm failed", error=what)
            raise VmFailed(f"{vm.name}: {what}") from failure
        finally:
            vm.lifecycle.move(State.HALTED)
        self._log.info("vm halted", reason=halt.reason.value, detail=halt.detail)
        return halt

    async def _run_guest(self) -> Halt:
        """Run the vCPUs until the guest's end, through any number of resets."""
        while True:
            await self._run_vcpus()
            event, detail, status = self._event or (None, "", 0)
            if event is not SystemEvent.RESET or self._vm.config.on_reset == "exit":
                return Halt(_HALT_REASON[event], detail, status)
            self._reset()

    async def _run_vcpus(self) -> None:
        async with asyncio.TaskGroup() as group:
            for vcpu in self._vm.vcpus:
                group.create_task(vcpu.run(), name=f"{self._vm.name}-vcpu{vcpu.index}")

    def _reset(self) -> None:
        """Every vCPU task has returned: receiver and requester are serialised, so requests may be cleared here (R-62)."""
        vm = self._vm
        before = vm.lifecycle.state
        vm.lifecycle.move(State.RESET)
        self._log.info("vm reset")
        self._event = None
        for vcpu in vm.vcpus:
            vcpu.discard_requests()
        self._power_on()
        make_vcpus_request(vm.vcpus, Request.SLEEP)  # whoever is paused stays so
        if self._event is not None:  # an end that came meanwhile lost its requests above
            make_vcpus_request(vm.vcpus, Request.VM_DEAD)
        vm.lifecycle.move(before)
