"""A VM in the hands of a user who makes it piece by piece and runs each vCPU until it leaves, as a program runs KVM's.

The pieces are the real ones: vCPUs with their run loop, the bus, guest memory. Only the life of a `Vm` is missing. Everything
happens on the event loop's thread and in virtual time, so the same operations give the same answers on every machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from avmm.arch import SystemEvent
from avmm.bus import Bus, Region
from avmm.clock import Clock, VirtualClock
from avmm.errors import VmFailed
from avmm.exits import HALTED, Exit
from avmm.lock import DeviceLock
from avmm.memory import GuestMemory
from avmm.slot import Slot
from avmm.vcpu.handlers import Handler
from avmm.vcpu.requests import Request
from avmm.vcpu.vcpu import Vcpu

_SLICE_INSTRUCTIONS = 10_000
_NS_PER_INSTRUCTION = 1_000
"""A slow guest: waiting half a second for one that spins is half a million instructions."""


class Leave(Exception):
    """Raised inside a run, in a trap or before an entry: the run ends here, and `why` says what for.

    A trap that raises it leaves the guest at the trapping instruction, which is executed again by the next run.
    """

    def __init__(self, why: object) -> None:
        super().__init__(str(why))
        self.why = why


class RunSlot(Slot):
    """Guest code in slices, one vCPU's own slot. A trap may have the run end after it."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self.leave: Leave | None = None
        """Raised once the entry under way has ended. Whoever sets it ends the entry with a request."""
        self.suspended = False
        """While it holds, every entry ends before its first instruction, as if with WFI."""

    async def enter(self, vcpu: Vcpu) -> Exit:
        before = vcpu.engine.instructions
        if self.suspended:
            vcpu.engine.kick()
        try:
            exit_ = vcpu.enter_guest(_SLICE_INSTRUCTIONS)
        finally:
            self._clock.guest_ran(vcpu.engine.instructions - before)
        leave, self.leave = self.leave, None
        if leave is not None:
            raise leave
        await asyncio.sleep(0)
        return HALTED if self.suspended else exit_


class UserspaceVm:
    """What the pieces of such a VM share: an architecture's `VmServices`, and whose vCPUs run.

    `on_system_event(event, detail)` is told what the guest asks of the whole machine, on the thread of the vCPU that asks.
    """

    def __init__(self, name: str = "vm") -> None:
        self.name = name
        self._time = VirtualClock(ns_per_instruction=_NS_PER_INSTRUCTION)
        self.clock: Clock = self._time
        self.device_lock = DeviceLock()
        self.memory = GuestMemory()
        self.bus = Bus(self.device_lock, self._device_raised)
        self.guest_faults: dict[str, int] = {}
        self.on_system_event: Callable[[SystemEvent, str], None] = lambda event, detail: None
        self._vcpus: list[Vcpu] = []
        self._tasks: dict[int, asyncio.Task[None]] = {}

    # VmServices and VcpuHost

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        """The vCPUs made so far, by index."""
        return self._vcpus

    def system_event(self, event: SystemEvent, detail: str = "", status: int = 0) -> None:
        """Pass the guest's wish on to the VM's user."""
        self.on_system_event(event, detail)

    def guest_fault(self, kind: str, detail: str) -> None:
        """Count something odd that the guest did."""
        self.guest_faults[kind] = self.guest_faults.get(kind, 0) + 1

    def vcpu_failed(self, vcpu: Vcpu, detail: str) -> None:
        """An engine fault: the run fails with it."""
        raise VmFailed(f"vcpu {vcpu.index}: {detail}")

    def vcpu_stopped_for_debug(self, vcpu: Vcpu, pc: int) -> None:
        """There is no debugger."""
        raise VmFailed(f"vcpu {vcpu.index}: stopped for debug at {pc:#x}")

    def _device_raised(self, region: Region, error: Exception) -> None:
        raise VmFailed(f"{region.name}: {error}") from error

    # vCPUs and their runs

    def add_vcpu(self, handlers: Mapping[int, Handler], names: Mapping[int, str]) -> Vcpu:
        """One more vCPU, without architecture and engine yet; arguments as for `Vcpu`."""
        vcpu = Vcpu(len(self._vcpus), self, handlers, names)
        vcpu.slot = RunSlot(self._time)
        self._vcpus.append(vcpu)
        return vcpu

    def slot(self, vcpu: Vcpu) -> RunSlot:
        """The slot of `vcpu`."""
        assert isinstance(vcpu.slot, RunSlot)
        return vcpu.slot

    def run(self, vcpu: Vcpu) -> None:
        """Begin a run of `vcpu`, which must not be in one."""
        assert vcpu.index not in self._tasks
        if vcpu.powered_off:
            vcpu.make_request(Request.SLEEP)  # the one that put it to sleep went with the run that was interrupted there
        self._tasks[vcpu.index] = asyncio.create_task(vcpu.run(), name=f"{self.name}-vcpu{vcpu.index}")

    def in_run(self, vcpu: Vcpu) -> bool:
        """True from `run()` until `finish()`."""
        return vcpu.index in self._tasks

    def run_over(self, vcpu: Vcpu) -> bool:
        """True when a run has begun and ended, and is to be finished."""
        return vcpu.index in self._tasks and self._tasks[vcpu.index].done()

    async def interrupt(self, vcpu: Vcpu) -> None:
        """End the run of `vcpu` where it is, as a signal does; nothing when it has ended by itself."""
        task = self._tasks[vcpu.index]
        task.cancel()
        await asyncio.wait([task])

    def finish(self, vcpu: Vcpu) -> object:
        """What ended a run that is over: a `Leave`'s reason, or None when it was interrupted. Raises what made it fail."""
        task = self._tasks.pop(vcpu.index)
        if task.cancelled():
            return None
        error = task.exception()
        if isinstance(error, Leave):
            return error.why
        if error is not None:
            raise error
        raise VmFailed(f"vcpu {vcpu.index}: the VM is over")

    async def wait(self, over: Callable[[], bool], ns: int) -> bool:
        """Let everything run until `over()`, or until `ns` nanoseconds of virtual time have passed; the former?"""
        clock, deadline_ns = self._time, self._time.now_ns() + ns
        while not over():
            if clock.now_ns() >= deadline_ns:
                return False
            if all(self._vcpus[index].asleep or task.done() for index, task in self._tasks.items()):
                due_ns = clock.next_ns()
                until_ns = deadline_ns if due_ns is None else max(clock.now_ns(), min(due_ns, deadline_ns))
                clock.advance(until_ns - clock.now_ns())
            await asyncio.sleep(0)
        return True

    async def close(self) -> None:
        """End every run and give the memory and the clock back."""
        for vcpu in self._vcpus:
            task = self._tasks.pop(vcpu.index, None)
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self.clock.close()
        self.memory.close()
