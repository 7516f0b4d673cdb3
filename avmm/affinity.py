"""Where the event loop's thread and the slots' threads run.

An exit is handed from a slot's thread to the event loop and back. Between two cores each hand-over wakes an idle core and fights
for the interpreter's lock, which takes ten times as long as a switch on one core; and while the guest runs, the loop mostly
sleeps. So they share a core as long as nobody else wants it and one is enough for them: vCPUs that run in parallel need more.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from avmm.clock import Clock, TimerHandle

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
        threads: Callable[[], Sequence[int]],
        *,
        times: Callable[[int], tuple[int, int]] = times_ns,
        place: Callable[[int, set[int]], None] = os.sched_setaffinity,
    ) -> None:
        """`threads` gives the native ids of the slots' threads; the event loop's own comes in by itself."""
        self._clock, self._threads, self._times_of, self._place_thread = clock, threads, times, place
        self._loop_thread = threading.get_native_id()
        self._allowed = os.sched_getaffinity(0)
        self._times: dict[int, tuple[int, int]] = {}
        self._free_until_ns = 0
        self._look_ns = 0
        self._sharing = False
        self._timer: TimerHandle | None = None
        self.moves = 0
        """Times the core was crowded, and let go of."""

    def start(self) -> None:
        """Share the core that the loop runs on now. Nothing to do on a machine with one core, or without schedstat."""
        if len(self._allowed) > 1 and Path("/proc/self/schedstat").exists():
            self._look()

    def stop(self) -> None:
        """Leave the placement to the kernel again."""
        if self._timer is not None:
            self._timer.cancel()
            self._place(self._allowed)

    def _look(self) -> None:
        now_ns, look_ns = self._clock.now_ns(), self._look_ns
        ran_ns, waited_ns = self._since_the_last_look()
        several_busy = len(self._threads()) > 1 and ran_ns >= look_ns * IDLE
        self._look_ns = LOOK_AT_SEVERAL_NS if several_busy else LOOK_NS
        self._timer = self._clock.call_at(now_ns + self._look_ns, self._look)
        if self._sharing and waited_ns > look_ns * CROWDED:
            self._sharing = False
            self.moves += 1
            self._free_until_ns = now_ns + FREE_NS
            self._place(self._allowed)
        elif not self._sharing and ran_ns > look_ns * ONE_CORE:
            self._free_until_ns = now_ns + FREE_NS
        elif now_ns >= self._free_until_ns:
            self._sharing = True
            self._place({_libc.sched_getcpu()})

    def _since_the_last_look(self) -> tuple[int, int]:
        """How long all threads ran, and how long the one that waited most did."""
        ran_ns = waited_ns = 0
        for thread in (self._loop_thread, *self._threads()):
            now = self._times_of(thread)
            before = self._times.get(thread, now)
            self._times[thread] = now
            ran_ns += now[0] - before[0]
            waited_ns = max(waited_ns, now[1] - before[1])
        return ran_ns, waited_ns

    def _place(self, cores: set[int]) -> None:
        for thread in (self._loop_thread, *self._threads()):
            self._place_thread(thread, cores)
