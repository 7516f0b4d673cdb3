"""A virtual machine: its parts, its life, and the tasks that run it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self

from avmm.affinity import SharedCore
from avmm.arch import Arch, BootImage, SystemEvent
from avmm.builder import Installed, Machine, Plugins, assemble
from avmm.bus import Bus, Region
from avmm.clock import Clock, VirtualClock
from avmm.config import MachineConfig
from avmm.console import Console
from avmm.device import Device
from avmm.errors import AvmmError, VmFailed
from avmm.halt import Halt, HaltReason
from avmm.host_clock import HostClock
from avmm.idle import Idle
from avmm.instrument import Instrument
from avmm.lifecycle import Lifecycle, State
from avmm.loader import load_kernel
from avmm.lock import DeviceLock
from avmm.log import get_logger
from avmm.memory import GuestMemory, MemorySlot
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
        self._vcpus: list[Vcpu] = []
        self.guest_faults: dict[str, int] = {}
        self._faults_lock = threading.Lock()
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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: asyncio.Task[Halt] | None = None
        self._event: tuple[SystemEvent | None, str, int] | None = None
        self._failure_told = False
        self._pauses = 0
        self._given = instruments
        self._instruments: list[Instrument] = []
        self._log = get_logger(vm=self.name)

    # Building and taking down.

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
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
                    reached = partial(self._end, None, f"vcpu {vcpu.index} executed {most} instructions")
                    vcpu.limit = InstructionLimit(vcpu, most, reached)
            if self.config.affinity == "shared":
                shared = SharedCore(self.clock, self._slot_threads)
                shared.start()
                self._undo.callback(shared.stop)
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
                await self._finish()
            finally:
                await self._stop_instruments()
        finally:
            self._undo.close()
        # A failure that halted() has told is not told twice.
        if error is None and not self._failure_told and self._runner is not None and not self._runner.cancelled():
            self._runner.result()

    async def _finish(self) -> None:
        """Stop, and wait for the runner through any number of cancellations: nothing may run behind our back."""
        runner = self._runner
        if runner is None:
            if self.lifecycle.state is State.INIT:
                self.lifecycle.move(State.HALTED)
            return
        self._end(None, "closed")
        cancelled: asyncio.CancelledError | None = None
        while not runner.done():
            try:
                await asyncio.wait([runner])
            except asyncio.CancelledError as error:
                cancelled = error
                runner.cancel()
        if cancelled is not None:
            raise cancelled

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
        self.lifecycle.require(State.INIT)
        self.arch.check()
        self._boot()
        self.lifecycle.move(State.RUNNING)
        self._log.info("vm started", vcpus=len(self.vcpus), memory=self.config.memory)
        self._runner = asyncio.create_task(self._run(), name=f"{self.name}")

    async def halted(self) -> Halt:
        """Wait until the VM is over, and say why. VmFailed when something in it failed; its cause says what."""
        if self._runner is None:
            raise RuntimeError("the VM was never started")
        try:
            return await asyncio.shield(self._runner)
        finally:
            self._failure_told |= self._runner.done()

    async def stop(self, detail: str = "stopped") -> None:
        """End the VM from the host's side and wait until every vCPU is out. Harmless when it is over."""
        self._end(None, detail)
        if self._runner is not None:
            await asyncio.wait([self._runner])

    def system_event(self, event: SystemEvent, detail: str = "", status: int = 0) -> None:
        """Shut down, reset or crash the machine. Any thread; no vCPU enters the guest again before that is done.

        `status` (0 to 255) is what a guest that shuts down gives as its exit status.
        """
        self._end(event, detail, status)

    def _end(self, event: SystemEvent | None, detail: str, status: int = 0) -> None:
        # Who comes first says why; the host's own word (None) also overrides a reset.
        if self._event is None or (event is None and self._event[0] is SystemEvent.RESET):
            self._event = (event, detail, status)
        make_vcpus_request(self.vcpus, Request.VM_DEAD)

    def _boot(self) -> None:
        """Bring everything to its state after power-on, and the guest's image into memory."""
        self.bus.reset()
        with self.device_lock:
            self.arch.reset()
        for vcpu in self.vcpus:
            vcpu.arch.reset()
            vcpu.power_off()
        image = BootImage(self.arch.image_base, self.arch.image_base, self.config.append, self.config.initrd)
        if self.config.kernel is not None and self.config.firmware is None:
            kernel = load_kernel(
                self.config.kernel, self.memory, elf_machine=self.arch.elf_machine, image_base=self.arch.image_base
            )
            image = BootImage(kernel.entry, kernel.end, self.config.append, self.config.initrd)
        self.arch.boot(image, self.machine.devices)

    async def _run(self) -> Halt:
        """The VM's own task: vCPUs and devices under one roof, from start to end, resets included."""
        try:
            async with asyncio.TaskGroup() as roof:
                devices = [roof.create_task(self._run_device(region), name=f"{self.name}-{region.name}") for region in self.bus]
                halt = await self._run_guest()
                for task in devices:
                    task.cancel()
                self.halt = halt
        except ExceptionGroup as group:  # the task boundary: the failure is the VM's, told to whoever asks for its end
            failure = _first(group)
            what = str(failure) if isinstance(failure, AvmmError) else f"{type(failure).__name__}: {failure}"
            self.halt = Halt(HaltReason.FAILED, what)
            self._log.error("vm failed", error=what)
            raise VmFailed(f"{self.name}: {what}") from failure
        finally:
            self.lifecycle.move(State.HALTED)
        self._log.info("vm halted", reason=halt.reason.value, detail=halt.detail)
        return halt

    async def _run_guest(self) -> Halt:
        """Run the vCPUs until the guest's end, through any number of resets."""
        while True:
            await self._run_vcpus()
            event, detail, status = self._event or (None, "", 0)
            if event is not SystemEvent.RESET or self.config.on_reset == "exit":
                return Halt(_HALT_REASON[event], detail, status)
            self._reset()

    async def _run_vcpus(self) -> None:
        async with asyncio.TaskGroup() as group:
            for vcpu in self.vcpus:
                group.create_task(vcpu.run(), name=f"{self.name}-vcpu{vcpu.index}")

    async def _run_device(self, region: Region) -> None:
        await self._guarded(region, region.device.run())

    async def _guarded(self, region: Region, call: Coroutine[object, object, None]) -> None:
        """Await a device's coroutine; a device that raises is quarantined."""
        try:
            await call
        except Exception as error:  # noqa: BLE001 - the plugin boundary
            cause = _first(error) if isinstance(error, ExceptionGroup) else error
            assert isinstance(cause, Exception)
            with self.device_lock:
                self.bus.quarantine(region, cause)

    def _reset(self) -> None:
        """Every vCPU task has returned: receiver and requester are serialised, so requests may be cleared here (R-62)."""
        before = self.lifecycle.state
        self.lifecycle.move(State.RESET)
        self._log.info("vm reset")
        self._event = None
        for vcpu in self.vcpus:
            vcpu.discard_requests()
        self._boot()
        make_vcpus_request(self.vcpus, Request.SLEEP)  # whoever is paused stays so
        if self._event is not None:  # an end that came meanwhile lost its requests above
            make_vcpus_request(self.vcpus, Request.VM_DEAD)
        self.lifecycle.move(before)

    async def step(self, instructions: int, vcpu: int | None = None) -> list[StepResult]:
        """Have a paused VM execute `instructions`: see `Steering.step`."""
        return await self.steering.step(instructions, vcpu)

    # Pausing.

    def halt_guest(self) -> Acknowledgements:
        """Pause every vCPU: once the result is awaited, none executes guest code and none can enter (kvm_arm_halt_guest).

        Sleepers are left asleep. Counts: as many `resume_guest()` let them run again.
        """
        self._pauses += 1
        for vcpu in self.vcpus:
            vcpu.paused = True
        return make_vcpus_request(self.vcpus, Request.SLEEP)

    def resume_guest(self) -> None:
        """Let the vCPUs run again: no request and no kick, a plain wake-up (kvm_arm_resume_guest)."""
        assert self._pauses, "resume_guest() without halt_guest()"
        self._pauses -= 1
        if not self._pauses:
            for vcpu in self.vcpus:
                vcpu.paused = False
                vcpu.wake_up()

    async def pause(self) -> None:
        """Quiesce: every vCPU outside the guest, every device at rest. LifecycleError unless it runs."""
        self.lifecycle.require(State.RUNNING)
        self.lifecycle.move(State.PAUSED)
        await self.halt_guest()
        for region in self.bus:
            if not region.quarantined:
                await self._guarded(region, region.device.quiesce())

    async def resume(self) -> None:
        """Go on after `pause()`. LifecycleError unless it is paused."""
        self.lifecycle.require(State.PAUSED)
        self.lifecycle.move(State.RUNNING)
        for region in self.bus:
            if not region.quarantined:
                await self._guarded(region, region.device.resume())
        self.resume_guest()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Quiesced for the length of an `async with`; goes on afterwards unless the VM has ended meanwhile."""
        await self.pause()
        try:
            yield
        finally:
            if self.lifecycle.state is State.PAUSED:
                await self.resume()

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
        if self.lifecycle.state is State.RUNNING:
            self.lifecycle.move(State.PAUSED)
            self.halt_guest()

    def guest_fault(self, kind: str, detail: str) -> None:
        """Count something odd the guest did; log the first few, then ever more rarely. Any thread."""
        with self._faults_lock:
            count = self.guest_faults[kind] = self.guest_faults.get(kind, 0) + 1
        if count <= 4 or count & (count - 1) == 0:
            self._log.warning("guest fault", kind=kind, detail=detail, count=count)

    def _device_raised(self, region: Region, error: Exception) -> None:
        self._log.error("device quarantined", device=region.name, error=f"{type(error).__name__}: {error}")
        if self.config.on_device_fault == "stop":
            self.system_event(SystemEvent.CRASH, f"device {region.name} raised {type(error).__name__}: {error}")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure in a group of groups."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


_HALT_REASON: dict[SystemEvent | None, HaltReason] = {
    None: HaltReason.STOPPED,
    SystemEvent.SHUTDOWN: HaltReason.SHUTDOWN,
    SystemEvent.RESET: HaltReason.RESET,
    SystemEvent.CRASH: HaltReason.CRASH,
}
