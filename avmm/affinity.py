"""Where the event loop's thread and the slots' threads run.

An exit is handed from a slot's thread to the event loop and back. Between two cores each hand-over wakes an idle core and fights
for the interpreter's lock, which takes ten times as long as a switch on one core; and while the guest runs, the loop mostly
sleeps. So the two share a core as long as nobody else wants it.
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

FREE_LOOKS = 8
"""How many looks long to leave the placement to the kernel after the core was crowded."""

CROWDED = 0.25
"""The part of the time that a thread may wait for the core before it counts as crowded."""

_libc = ctypes.CDLL(None, use_errno=True)


def waited_ns(thread: int) -> int:
    """Nanoseconds that the thread with this native id has waited for a core while it could have run (/proc/.../schedstat)."""
    return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1])


class SharedCore:
    """Keeps some threads on one core, and lets go of it for a while when it turns out to be crowded. Owned by the event loop."""

    def __init__(self, clock: Clock, threads: Callable[[], Sequence[int]]) -> None:
        """`threads` gives the native ids of the slots' threads; the event loop's own comes in by itself."""
        self._clock, self._threads = clock, threads
        self._loop_thread = threading.get_native_id()
        self._allowed = os.sched_getaffinity(0)
        self._waited: dict[int, int] = {}
        self._free_looks = 0
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
        self._timer = self._clock.call_at(self._clock.now_ns() + LOOK_NS, self._look)
        if self._free_looks:
            self._free_looks -= 1
            if not self._free_looks:
                self._waited.clear()
        elif self._crowded():
            self.moves += 1
            self._free_looks = FREE_LOOKS
            self._place(self._allowed)
        else:
            self._place({_libc.sched_getcpu()})

    def _crowded(self) -> bool:
        crowded = False
        for thread in (self._loop_thread, *self._threads()):
            now_ns = waited_ns(thread)
            crowded |= now_ns - self._waited.get(thread, now_ns) > LOOK_NS * CROWDED
            self._waited[thread] = now_ns
        return crowded

    def _place(self, cores: set[int]) -> None:
        for thread in (self._loop_thread, *self._threads()):
            os.sched_setaffinity(thread, cores)
