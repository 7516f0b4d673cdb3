"""What each vCPU did since the last look: changes of state to the nanosecond while there are few, shares of the time beyond that.

A tracer records them, and only while somebody looks. It records a fixed number of changes a look and then takes itself away until
the next one, so that a guest that exits a hundred thousand times a second pays for a few dozen of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from threading import get_ident

from avmm.plugin import KickAction, ObservedVm, Tracepoint, Vcpu, VcpuMode, add_tracer, remove_tracer

CHANGES = 96
"""Changes of one vCPU's state that are recorded between two looks."""
KICKS = 192
"""Kicks and wake-ups of all vCPUs that are recorded between two looks."""
HOST = -1
"""Who kicked, when it was no vCPU's guest."""
WOKEN = len(KickAction)
"""Beside the kicks' `KickAction`: a sleeper was woken, but not by a kick (its timer, its interrupt)."""
NO_REQUEST = -1


class LaneState(IntEnum):
    """What a vCPU does, as a lane shows it."""

    OUTSIDE = 0
    """Outside guest mode: an exit or a request is handled."""
    WAITING = 1
    """Ready for the guest, and waiting for a slot that another vCPU has."""
    GUEST = 2
    HALTED = 3
    """Asleep until an interrupt."""
    OFF = 4
    """Powered off, or over."""
    PAUSED = 5


@dataclass(slots=True)
class Stretch:
    """One vCPU between two looks."""

    vcpu: int
    changes: list[tuple[int, LaneState]]
    """(since when, what), in nanoseconds of the host's clock; the first is the state at the start."""
    exact_until_ns: int
    """Up to where every change is in `changes`."""
    guest_ns: int
    """Time in guest mode behind that, in nanoseconds of the VM's clock."""
    asleep_ns: int
    """Time asleep behind that, likewise."""
    now: LaneState
    """What it does at the end."""


@dataclass(frozen=True, slots=True)
class Kick:
    """A kick, or a wake-up."""

    at_ns: int
    source: int
    """The vCPU whose guest made it, or HOST."""
    target: int
    action: int
    """A `KickAction`, or WOKEN."""
    request: int
    """The number of the request that it was for; NO_REQUEST where it was for none."""


@dataclass(frozen=True, slots=True)
class Look:
    """All watched vCPUs between two looks."""

    from_ns: int
    to_ns: int
    stretches: tuple[Stretch, ...]
    kicks: tuple[Kick, ...]
    kicks_left_out: int


class LaneRecorder:
    """Records the vCPUs that are watched. Owned by the event loop; the hooks alone run on other threads."""

    def __init__(self, vm: ObservedVm, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """`now_ns` is the host's clock: a page scrolls by the time of whoever looks at it, whatever the VM's clock does."""
        self._vm, self._now_ns = vm, now_ns
        self._lanes: dict[int, _Lane] = {}
        self._kicks: list[Kick] = []
        self._counted = 0
        self._from_ns = now_ns()

    def watch(self, indices: Sequence[int]) -> None:
        """Record these vCPUs from now on, and no others."""
        if list(indices) == list(self._lanes):
            return
        for index in [index for index in self._lanes if index not in indices]:
            self._lanes.pop(index).stop()
        lanes = self._lanes
        if not lanes:
            self._from_ns = self._now_ns()
            self._kicks.clear()
        self._lanes = {
            index: lanes.get(index) or _Lane(self._vm.vcpus[index], self._vm, self._now_ns, self._kicks) for index in indices
        }
        self._counted = self._count()

    def look(self) -> Look:
        """What happened since the last look (or since the vCPU is watched). Two looks are a moment apart."""
        from_ns, self._from_ns = self._from_ns, self._now_ns()
        stretches = tuple(lane.take(self._from_ns) for lane in self._lanes.values())
        recorded = len(self._kicks)
        kicks = tuple(sorted(self._kicks[:recorded], key=lambda kick: kick.at_ns))
        del self._kicks[:recorded]
        counted, self._counted = self._counted, self._count()
        left_out = self._counted - counted - sum(kick.action != WOKEN for kick in kicks)
        return Look(from_ns, self._from_ns, stretches, kicks, max(0, left_out))

    def stop(self) -> None:
        """Record no more."""
        self.watch(())

    def _count(self) -> int:
        return sum(sum(self._vm.vcpus[index].stats.kicks) for index in self._lanes)


class _Lane:
    """One vCPU, while it is watched."""

    def __init__(self, vcpu: Vcpu, vm: ObservedVm, now_ns: Callable[[], int], kicks: list[Kick]) -> None:
        self._vcpu, self._vm, self._now_ns = vcpu, vm, now_ns
        self._loop = asyncio.get_running_loop()
        self._changes: list[tuple[int, LaneState]] = []
        self._state = state_of(vcpu)
        self._start = (now_ns(), self._state)
        self._times = vcpu.stats.times_ns(vm.clock)
        self._full = self._stopped = False
        self._hook = self._make_hook(kicks)
        add_tracer(vcpu, self._hook)

    def stop(self) -> None:
        self._stopped = True
        remove_tracer(self._vcpu, self._hook)

    def take(self, now_ns: int) -> Stretch:
        """The stretch up to now; recording goes on."""
        recorded = len(self._changes)
        changes = [self._start, *self._changes[:recorded]]
        del self._changes[:recorded]
        full, present = self._full, state_of(self._vcpu)
        guest_ns, asleep_ns = self._times
        self._times = now_guest_ns, now_asleep_ns = self._vcpu.stats.times_ns(self._vm.clock)
        exact_until_ns = now_ns
        if full:
            exact_until_ns = changes[-1][0]
            guest_ns += _time_in(changes, LaneState.GUEST)
            asleep_ns += sum(_time_in(changes, state) for state in _ASLEEP)
            self._full = False
            self._state = present
            add_tracer(self._vcpu, self._hook)
        elif present in _ASLEEP and self._state in _ASLEEP and present is not self._state:
            # A pause leaves sleepers asleep: what they sleep for has changed without an event of theirs.
            changes.append((now_ns, present))
            self._state = present
        self._start = (now_ns, self._state)
        return Stretch(
            self._vcpu.index,
            changes,
            exact_until_ns,
            max(0, now_guest_ns - guest_ns) if full else 0,
            max(0, now_asleep_ns - asleep_ns) if full else 0,
            self._state,
        )

    def _make_hook(self, kicks: list[Kick]) -> Callable[[Tracepoint, int], None]:
        # Every test is of an enum member for identity; a list's append and the deletion of its head are single steps of the
        # interpreter. Run-loop points come from the vCPU's own thread alone, so changes are in order.
        vm, vcpu, changes, now_ns = self._vm, self._vcpu, self._changes, self._now_ns
        asked: dict[int, int] = {}  # the request that a thread made last and has not kicked for, by thread
        entry, leave, asleep, wakeup = Tracepoint.ENTRY, Tracepoint.EXIT, Tracepoint.ASLEEP, Tracepoint.WAKEUP
        ready, going_in = Tracepoint.AFTER_REQUESTS, Tracepoint.IRQS_OFF
        made, handled, kick, woken = Tracepoint.REQUEST_MADE, Tracepoint.REQUEST_HANDLED, Tracepoint.KICK, Tracepoint.WOKEN

        def record(point: Tracepoint, value: int) -> None:
            if point is entry:
                state = LaneState.GUEST
            elif point is leave or point is wakeup or point is going_in:
                state = LaneState.OUTSIDE
            elif point is ready:
                holder = vcpu.slot.vcpu
                state = LaneState.OUTSIDE if holder is None or holder is vcpu else LaneState.WAITING
            elif point is asleep:
                state = _why_asleep(vcpu)
            elif point is made:
                asked[get_ident()] = value
                return
            elif point is handled:
                if asked.get(get_ident()) == value:  # made by the vCPU itself, and no kick will follow
                    del asked[get_ident()]
                return
            elif point is kick:
                request = asked.pop(get_ident(), NO_REQUEST)
                if len(kicks) < KICKS:
                    kicks.append(Kick(now_ns(), _who(vm), vcpu.index, value, request))
                return
            elif point is woken:
                if len(kicks) < KICKS:
                    kicks.append(Kick(now_ns(), _who(vm), vcpu.index, WOKEN, NO_REQUEST))
                return
            else:
                return
            if state is not self._state and not self._full:
                self._state = state
                changes.append((now_ns(), state))
                if len(changes) >= CHANGES:
                    self._full = True
                    self._loop.call_soon_threadsafe(self._rest)

        return record

    def _rest(self) -> None:
        """Be told no more until the next look."""
        if self._full and not self._stopped:
            remove_tracer(self._vcpu, self._hook)


_ASLEEP = (LaneState.HALTED, LaneState.OFF, LaneState.PAUSED)


def state_of(vcpu: Vcpu) -> LaneState:
    """What `vcpu` does now. Any thread."""
    if vcpu.stats.started_ns < 0 or vcpu.stats.ended_ns >= 0:
        return LaneState.OFF
    if vcpu.asleep:
        return _why_asleep(vcpu)
    return LaneState.GUEST if vcpu.mode in (VcpuMode.IN_GUEST_MODE, VcpuMode.EXITING_GUEST_MODE) else LaneState.OUTSIDE


def _why_asleep(vcpu: Vcpu) -> LaneState:
    return LaneState.OFF if vcpu.powered_off else LaneState.PAUSED if vcpu.paused else LaneState.HALTED


def _who(vm: ObservedVm) -> int:
    """The vCPU whose guest the calling thread executes, or HOST."""
    for slot in vm.slots:
        vcpu = slot.vcpu
        if vcpu is not None and vcpu.in_guest_thread():
            return vcpu.index
    return HOST


def _time_in(changes: Sequence[tuple[int, LaneState]], state: LaneState) -> int:
    """Nanoseconds in `state` up to the last change."""
    return sum(end - start for (start, one), (end, _) in pairwise(changes) if one is state)
