"""A virtual machine: its parts, its life, and the tasks that run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from functools import partial
from types import TracebackType
from typing import Self

from avmm.affinity import share_core
from avmm.arch import Arch, SystemEvent
from avmm.builder import Installed, Machine, Plugins, assemble
from avmm.bus import Bus, Region
from avmm.clock import Clock, VirtualClock
from avmm.config import MachineConfig
from avmm.console import Console
from avmm.device import Device
from avmm.device_tasks import DeviceTasks
from avmm.guest_faults import GuestFaults
from avmm.halt import Halt
from avmm.host_clock import HostClock
from avmm.idle import Idle
from avmm.instrument import Instrument
from avmm.lifecycle import Lifecycle
from avmm.lock import DeviceLock
from avmm.log import get_logger
from avmm.memory import GuestMemory, MemorySlot
from avmm.pausing import Pausing
from avmm.run import Run
from avmm.slot import Slot
from avmm.steering import Steering, StepResult
from avmm.vcpu.acks import Acknowledgements
from avmm.vcpu.kicker import make_vcpus_request
from avmm.vcpu.limit import InstructionLimit
from avmm.vcpu.requests import Request
from avmm.vcpu.vcpu import Vcpu


class Vm:
    """One virtual machine. An async context manager: built on entry, gone on exit, with no thread or task left behind.

    Everything is to be called on the event loop's thread unless it says "any thread".
    """

    def __init__(
        self,
        config: MachineConfig,
        *,
        console: Callable[[bytes], object] | None = None,
        plugins: Plugins | None = None,
        clock: Clock | None = None,
        instruments: Sequence[Instrument] = (),
    ) -> None:
        """`console` is called with what the guest's console writes, on any thread, and must not block.

        `instruments` watch the VM beside those that `config` names.
        """
        self.config, self.name = config, config.name
        self.lifecycle = Lifecycle()
        self.clock: Clock = clock or (VirtualClock() if config.clock == "virtual" else HostClock())
        self.device_lock = DeviceLock()
        self.memory = GuestMemory()
        self.bus = Bus(self.device_lock, self._device_raised)
        self.console = Console(self.device_lock, console)
        self.device_tasks = DeviceTasks(self.bus, self.device_lock)
        self._vcpus: list[Vcpu] = []
        self.halt: Halt | None = None
        self.notices: list[str] = []
        self.steering = Steering(self)
        self.remote_tlb_flush_requests = 0
        """Calls of `flush_remote_tlbs()`."""
        self.remote_tlb_flush = 0
        """Those of them for which an IPI was sent."""
        self._plugins: Plugins = plugins or Installed()
        self._machine: Machine | None = None
        self._undo = ExitStack()
        self._given = instruments
        self._instruments: list[Instrument] = []
        self._log = get_logger(vm=self.name)
        self._faults = GuestFaults(self._log)
        self._run = Run(self, self._log)
        self._pausing = Pausing(self)

    # Building and taking down.

    async def __aenter__(self) -> Self:
        try:
            self._undo.callback(self.clock.close)
            if isinstance(self.clock, HostClock):
                self.clock.start()
            self._machine = assemble(self, self._vcpus, self.config, self._plugins, self.console, self._undo)
            if isinstance(self.clock, VirtualClock):
                idle = Idle(self.clock, self.vcpus)
                for vcpu in self.vcpus:
                    vcpu.idle = idle
            if (most := self.config.instructions) is not None:
                for vcpu in self.vcpus:
                    reached = partial(self._run.end, None, f"vcpu {vcpu.index} executed {most} instructions")
                    vcpu.limit = InstructionLimit(vcpu, most, reached)
            if self.config.affinity == "shared":
                self._undo.callback(share_core(self._slot_threads))
            for name, setting in self.config.instruments.items():
                await self._add_instrument(self._plugins.instrument(name)(setting))
            for instrument in self._given:
                await self._add_instrument(instrument)
        except BaseException:
            try:
                await self._stop_instruments()
            finally:
                self._undo.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            try:
                await self._run.close()
            finally:
                await self._stop_instruments()
        finally:
            self._undo.close()
        if error is None:
            self._run.raise_untold()

    async def _add_instrument(self, instrument: Instrument) -> None:
        await instrument.start(self)
        self._instruments.append(instrument)

    async def _stop_instruments(self) -> None:
        """Stop all of them, whatever one of them raises."""
        async with AsyncExitStack() as stack:
            for instrument in self._instruments:
                stack.push_async_callback(instrument.stop, self)

    @property
    def machine(self) -> Machine:
        """The VM's parts; RuntimeError outside its `async with`."""
        if self._machine is None:
            raise RuntimeError("a Vm has its parts only inside `async with`")
        return self._machine

    @property
    def arch(self) -> Arch:
        """The VM's architecture."""
        return self.machine.arch

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        """The VM's vCPUs, by index."""
        return self._vcpus

    @property
    def slots(self) -> Sequence[Slot]:
        """The places where guest code executes."""
        return self.machine.slots

    @property
    def request_names(self) -> dict[int, str]:
        """Names of all requests by number."""
        return self.machine.request_names

    @property
    def guest_faults(self) -> Mapping[str, int]:
        """Odd things the guest did, by kind."""
        return self._faults.counts

    def state(self) -> str:
        """The VM's state, in one word."""
        return self.lifecycle.state.value

    def device(self, name: str) -> Device:
        """The device called `name`; KeyError when there is none."""
        for region in self.bus:
            if region.name == name:
                return region.device
        raise KeyError(name)

    def _slot_threads(self) -> list[int]:
        return [slot.thread for slot in self.slots if slot.thread is not None]

    # Life.

    async def start(self) -> None:
        """Load the guest and let it run. LoadError, ConfigError or LifecycleError when it cannot."""
        self._run.start()

    async def halted(self) -> Halt:
        """Wait until the VM is over, and say why. VmFailed when something in it failed; its cause says what."""
        return await self._run.halted()

    async def stop(self, detail: str = "stopped") -> None:
        """End the VM from the host's side and wait until every vCPU is out. Harmless when it is over."""
        await self._run.stop(detail)

    def system_event(self, event: SystemEvent, detail: str = "", status: int = 0) -> None:
        """Shut down, reset or crash the machine. Any thread; no vCPU enters the guest again before that is done.

        `status` (0 to 255) is what a guest that shuts down gives as its exit status.
        """
        self._run.end(event, detail, status)

    async def step(self, instructions: int, vcpu: int | None = None) -> list[StepResult]:
        """Have a paused VM execute `instructions`: see `Steering.step`."""
        return await self.steering.step(instructions, vcpu)

    # Pausing.

    def halt_guest(self) -> Acknowledgements:
        """Pause every vCPU: once the result is awaited, none executes guest code and none can enter (kvm_arm_halt_guest).

        Sleepers are left asleep. Counts: as many `resume_guest()` let them run again.
        """
        return self._pausing.halt_guest()

    def resume_guest(self) -> None:
        """Let the vCPUs run again: no request and no kick, a plain wake-up (kvm_arm_resume_guest)."""
        self._pausing.resume_guest()

    async def pause(self) -> None:
        """Quiesce: every vCPU outside the guest, every device at rest. LifecycleError unless it runs."""
        await self._pausing.pause()

    async def resume(self) -> None:
        """Go on after `pause()`. LifecycleError unless it is paused."""
        await self._pausing.resume()

    def paused(self) -> AbstractAsyncContextManager[None]:
        """Quiesced for the length of an `async with`; goes on afterwards unless the VM has ended meanwhile."""
        return self._pausing.paused()

    # Requests of several vCPUs.

    def make_all_cpus_request(self, request: int) -> Acknowledgements:
        """Make `request` of every vCPU, kicks included. Any thread (kvm_make_all_cpus_request).

        `await` the result for a request with WAIT: then all vCPUs that were in the guest are out. It is true when at least one
        IPI was sent.
        """
        return make_vcpus_request(self.vcpus, request)

    def make_vcpus_request(self, indices: Sequence[int], request: int) -> Acknowledgements:
        """The same for the vCPUs with these indices (kvm_make_vcpus_request_mask)."""
        return make_vcpus_request([self.vcpus[index] for index in indices], request)

    async def flush_remote_tlbs(self) -> None:
        """Have every vCPU forget its cached translations before it enters the guest again (kvm_flush_remote_tlbs)."""
        self.remote_tlb_flush_requests += 1
        if await self.make_all_cpus_request(Request.TLB_FLUSH):
            self.remote_tlb_flush += 1

    async def add_memory(self, slot: MemorySlot) -> None:
        """Give a paused or unstarted VM another memory slot. ConfigError when it overlaps."""
        self.memory.add(slot)
        self.machine.engine.map_memory(slot)
        await self.make_all_cpus_request(Request.MMU_RELOAD)

    async def remove_memory(self, slot: MemorySlot) -> None:
        """Take a memory slot from a paused VM."""
        self.machine.engine.unmap_memory(slot)
        self.memory.remove(slot)
        await self.make_all_cpus_request(Request.MMU_RELOAD)
        slot.close()

    # What vCPUs, devices and the architecture report.

    def vcpu_failed(self, vcpu: Vcpu, detail: str) -> None:
        """An engine fault ends the VM as a crash."""
        self._log.error("guest crashed", vcpu=vcpu.index, detail=detail)
        self.system_event(SystemEvent.CRASH, f"vcpu {vcpu.index}: {detail}")

    def vcpu_stopped_for_debug(self, vcpu: Vcpu, pc: int) -> None:
        """A breakpoint of the host's pauses the VM."""
        self._log.info("breakpoint", vcpu=vcpu.index, pc=hex(pc))
        self._pausing.breakpoint_hit()

    def guest_fault(self, kind: str, detail: str) -> None:
        """Count something odd the guest did; log the first few, then ever more rarely. Any thread."""
        self._faults.count(kind, detail)

    def _device_raised(self, region: Region, error: Exception) -> None:
        self._log.error("device quarantined", device=region.name, error=f"{type(error).__name__}: {error}")
        if self.config.on_device_fault == "stop":
            self.system_event(SystemEvent.CRASH, f"device {region.name} raised {type(error).__name__}: {error}")
