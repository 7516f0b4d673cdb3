"""Where the event loop's thread and the slots' threads run.

An exit is handed from a slot's thread to the event loop and back. Between two cores each hand-over wakes an idle core and fights
for the interpreter's lock, which takes ten times as long as a switch on one core; and while the guest runs, the loop mostly
sleeps. So they share a core as long as nobody else wants it and one is enough for them: vCPUs that run in parallel need more.

The thread of an event loop has one place, whichever VMs run on it: those that share a core share it with each other.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence, Set
from pathlib import Path

from avmm.clock import Clock, TimerHandle
from avmm.host_clock import HostClock

LOOK_NS = 250_000_000
"""How often to see whether the shared core is crowded."""

LOOK_AT_SEVERAL_NS = 50_000_000
"""The same where several slots share it, who crowd it by themselves as soon as two of them are busy."""

IDLE = 0.1
"""The part of a core that threads use together at most while they count as idle: then a look every `LOOK_NS` is enough."""

FREE_NS = 2_000_000_000
"""How long to leave the placement to the kernel after one core was not enough."""

CROWDED = 0.25
"""The part of the time that a thread may wait for the core before it counts as crowded."""

ONE_CORE = 1.1
"""How many cores' time the threads may have used since the last look to share one. They hand over to each other: one of them
busy, and the loop with it, uses no more than this."""

SlotThreads = Callable[[], Sequence[int]]
"""Gives the native ids of the threads of a VM's slots."""

_libc = ctypes.CDLL(None, use_errno=True)


def times_ns(thread: int) -> tuple[int, int]:
    """How long the thread with this native id has run, and waited for a core while it could have (/proc/.../schedstat)."""
    ran, waited, _ = Path(f"/proc/self/task/{thread}/schedstat").read_text().split()
    return int(ran), int(waited)


class SharedCore:
    """Keeps some threads on one core while that is enough for them, and nobody else wants it. Owned by the event loop."""

    def __init__(
        self,
        clock: Clock,
        *,
        times: Callable[[int], tuple[int, int]] = times_ns,
        place: Callable[[int, set[int]], None] = os.sched_setaffinity,
    ) -> None:
        """Made on the event loop's thread, which is one of those threads. `clock` is closed when the last VM leaves."""
        self._clock, self._times_of, self._place_thread = clock, times, place
        self._loop_thread = threading.get_native_id()
        self.allowed = frozenset(os.sched_getaffinity(0))
        """Where the event loop's thread might run before it was confined."""
        self._slots: list[SlotThreads] = []
        self._times: dict[int, tuple[int, int]] = {}
        self._free_until_ns = 0
        self._look_ns = 0
        self._sharing = False
        self._timer: TimerHandle | None = None
        self.moves = 0
        """Times the core was crowded, and let go of."""

    def join(self, threads: SlotThreads) -> None:
        """Share with the slots of one more VM. Nothing to do on a machine with one core, or without schedstat.

        The first share the core that the loop runs on now; later ones come to where the loop's thread has begun them.
        """
        self._slots.append(threads)
        if self._timer is None and len(self.allowed) > 1 and Path("/proc/self/schedstat").exists():
            self._look()

    def leave(self, threads: SlotThreads) -> bool:
        """Leave the placement of a VM's slots to the kernel again, and of the loop's thread with the last; whether it was."""
        self._slots.remove(threads)
        leaving = [*threads()] if self._slots else [self._loop_thread, *threads()]
        if self._timer is not None:
            self._place(self.allowed, leaving)
        if self._slots:
            return False
        self._clock.close()
        return True

    def _look(self) -> None:
        now_ns, look_ns = self._clock.now_ns(), self._look_ns
        threads = [self._loop_thread, *(thread for slots in self._slots for thread in slots())]
        ran_ns, waited_ns = self._since_the_last_look(threads)
        several_busy = len(threads) > 2 and ran_ns >= look_ns * IDLE
        self._look_ns = LOOK_AT_SEVERAL_NS if several_busy else LOOK_NS
        self._timer = self._clock.call_at(now_ns + self._look_ns, self._look)
        if self._sharing and waited_ns > look_ns * CROWDED:
            self._sharing = False
            self.moves += 1
            self._free_until_ns = now_ns + FREE_NS
            self._place(self.allowed, threads)
        elif not self._sharing and ran_ns > look_ns * ONE_CORE:
            self._free_until_ns = now_ns + FREE_NS
        elif now_ns >= self._free_until_ns:
            self._sharing = True
            self._place({_libc.sched_getcpu()}, threads)

    def _since_the_last_look(self, threads: Sequence[int]) -> tuple[int, int]:
        """How long all threads ran, and how long the one that waited most did."""
        ran_ns = waited_ns = 0
        earlier, self._times = self._times, {thread: self._times_of(thread) for thread in threads}
        for thread, now in self._times.items():
            before = earlier.get(thread, now)
            ran_ns += now[0] - before[0]
            waited_ns = max(waited_ns, now[1] - before[1])
        return ran_ns, waited_ns

    def _place(self, cores: Set[int], threads: Sequence[int]) -> None:
        for thread in threads:
            self._place_thread(thread, set(cores))


_shared: dict[int, SharedCore] = {}
"""What places each event loop's thread, by its native id, while a VM on that loop shares its core."""


def allowed_cores() -> set[int]:
    """The cores of the host that the calling thread may run on, by number; where avmm confined it, those it had before.

    For threads and processes that are begun on the event loop's thread, and inherit its place, but not its work.
    """
    shared = _shared.get(threading.get_native_id())
    return os.sched_getaffinity(0) if shared is None else set(shared.allowed)


def share_core(threads: SlotThreads) -> Callable[[], None]:
    """Have a VM's slots share a core with the running event loop's thread while one is enough; what is returned ends that.

    Host time decides, whatever the VM's clock: it is the host's cores that are used.
    """
    loop_thread = threading.get_native_id()
    shared = _shared.get(loop_thread)
    if shared is None:
        clock = HostClock()
        clock.start()
        shared = SharedCore(clock)
    shared.join(threads)
    _shared[loop_thread] = shared

    def leave() -> None:
        if shared.leave(threads):
            del _shared[loop_thread]

    return leave
