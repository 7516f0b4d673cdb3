"""What is counted: plain integers, written where things happen and read at scrape time.

Each field says who writes it. One writer (or one lock) a field makes the figures exact without any cost on the hot path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from avmm.bus import Bus
from avmm.clock import Clock
from avmm.config import MachineConfig
from avmm.exits import ExitReason
from avmm.figure import Histogram
from avmm.halt import Halt
from avmm.lifecycle import Lifecycle
from avmm.lock import DeviceLock

if TYPE_CHECKING:
    from avmm.arch import Arch
    from avmm.slot import Slot
    from avmm.steering import SteeredVm
    from avmm.vcpu.vcpu import Vcpu


class KickAction(IntEnum):
    """What a kick came to (section "VCPU Kicks"): exactly one of the three."""

    NOTHING = 0
    WAKEUP = 1
    IPI = 2


class VcpuStats:
    """One vCPU's figures."""

    def __init__(self) -> None:
        # Written under the vCPU's lock, by whoever makes requests and kicks.
        self.requests_made: defaultdict[int, int] = defaultdict(int)
        """Requests made, by number."""
        self.kicks = [0] * len(KickAction)
        """Kicks, by `KickAction`."""
        self.wakeups = 0
        """Times a sleeper was taken off its wait queue (halt_wakeup)."""
        self.ipis_acknowledged = 0
        """IPIs whose sender waited for the acknowledgement."""

        # Written by the vCPU's own thread.
        self.requests_handled: defaultdict[int, int] = defaultdict(int)
        """Requests handled, by number."""
        self.exits = 0
        """Times guest mode was left."""
        self.exits_by_reason = [0] * len(ExitReason)
        """Exits and traps handled in place, by `ExitReason`."""
        self.aborted_entries = 0
        """Entries given up at the last look at the requests."""
        self.halts = 0
        """Times the guest waited for an interrupt."""
        self.spurious_wakeups = 0
        """Times a sleeper found nothing to do and went back to sleep."""
        self.halt_attempted_poll = 0
        self.halt_successful_poll = 0
        self.halt_poll_success_ns = 0
        """Time polled for halts that ended meanwhile, in nanoseconds."""
        self.halt_poll_fail_ns = 0
        """Time polled in vain, in nanoseconds."""
        self.guest_ns = 0
        """Time in guest mode, in nanoseconds of the VM's clock, without the entry under way."""
        self.entered_ns = -1
        """When the entry under way began; negative outside. Written right behind `guest_ns`, without a call in between, so that a
        reader on another thread, which makes no call between its reads either, sees both as they belong together."""
        self.blocked_ns = 0
        """Time asleep: halted, paused or powered off, in nanoseconds of the VM's clock, without the sleep under way."""
        self.slept_ns = -1
        """When the sleep under way began; negative while awake. Written right behind `blocked_ns`, likewise."""
        self.started_ns = -1
        """When the run loop first started; negative before."""
        self.ended_ns = -1
        """When the run loop ended; negative while it runs."""
        self.exited_ns = 0
        """When guest mode was left last, moved on by the time asleep since."""
        self.exit_reason = -1
        """Why guest mode was left last, an `ExitReason`; negative before the run loop's first exit."""
        self.exit_handling: defaultdict[int, Histogram] = defaultdict(Histogram)
        """From leaving guest mode to entering it again without the time asleep, by the `ExitReason` of the exit."""
        self.request_latency: defaultdict[int, Histogram] = defaultdict(Histogram)
        """From making a request to the vCPU taking it up, by number, for those that are timed (`Vcpu.time_requests`)."""
        self.request_wait = Histogram()
        """From the first IPI of a request with WAIT to this vCPU's acknowledgement: how long the requester waited for it."""
        self.kick_to_exit = Histogram()
        """From sending an IPI to the vCPU being outside guest mode."""
        self.halt_wait = Histogram()
        """From going to sleep to waking, for halts that slept."""

    def times_ns(self, clock: Clock) -> tuple[int, int]:
        """Time in guest mode and time asleep until now, with the entry or the sleep under way. Any thread."""
        # Pairs of fields that belong together are read without a call in between; the time after both.
        guest_ns, entered_ns = self.guest_ns, self.entered_ns
        blocked_ns, slept_ns = self.blocked_ns, self.slept_ns
        now_ns = clock.now_ns()
        if entered_ns >= 0:
            guest_ns += max(0, now_ns - entered_ns)
        if slept_ns >= 0:
            blocked_ns += max(0, now_ns - slept_ns)
        return guest_ns, blocked_ns


class ObservedVm(Protocol):
    """The VM as an instrument sees it: figures to read, whenever it likes, and nothing to change."""

    name: str
    config: MachineConfig
    clock: Clock
    bus: Bus
    device_lock: DeviceLock
    remote_tlb_flush_requests: int
    remote_tlb_flush: int
    lifecycle: Lifecycle
    halt: Halt | None
    """How it ended: known when the state becomes halted. None before, and for a VM that never ran or was cancelled."""

    @property
    def arch(self) -> Arch:
        """The VM's architecture."""

    @property
    def vcpus(self) -> Sequence[Vcpu]: ...

    @property
    def slots(self) -> Sequence[Slot]: ...

    @property
    def guest_faults(self) -> Mapping[str, int]:
        """Odd things the guest did, by kind (a small fixed set)."""

    @property
    def request_names(self) -> Mapping[int, str]:
        """Names of all requests by number."""

    def state(self) -> str:
        """The VM's state: init, running, paused, reset or halted."""


class Instrument(Protocol):
    """Something that watches VMs, or steers them: an exporter, a tracer, a control server.

    One that only watches declares that it takes an `ObservedVm`.
    """

    async def start(self, vm: SteeredVm) -> None:
        """Begin to watch `vm`. Called on the event loop, before its guest first runs."""

    async def stop(self, vm: SteeredVm) -> None:
        """Watch `vm` no more: it is over. Its last figures may be read until this returns."""


InstrumentFactory = Callable[[str], Instrument]
"""Makes an instrument from the one string of its setting (`metrics = "HOST:PORT"`)."""
