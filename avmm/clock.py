"""Clocks. Nothing in avmm asks the host for the time by itself: a VM's clock is passed in."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Protocol

NS_PER_S = 1_000_000_000


class TimerHandle(Protocol):
    """A call that a clock will make."""

    def cancel(self) -> None:
        """Do not make the call. Harmless after it was made."""


class Clock(Protocol):
    """A VM's time, in nanoseconds from an arbitrary start; never goes back."""

    is_host: bool
    """True when `now_ns()` is the host's CLOCK_MONOTONIC, so that an engine may read that natively."""

    def now_ns(self) -> int:
        """The time now. Any thread."""

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> TimerHandle:
        """Call `callback` on the event loop's thread, never before `when_ns`. Any thread."""

    def guest_ran(self, instructions: int) -> None:
        """The guest executed so many more instructions."""

    def idle(self) -> None:
        """Every vCPU sleeps; nothing happens before the next timer."""

    def close(self) -> None:
        """Cancel all timers and give the host's resources back."""


class Timer:
    """One entry of a clock's heap; cancelling clears the callback and leaves the entry to be dropped when it comes up."""

    __slots__ = ("callback", "order", "when_ns")

    def __init__(self, when_ns: int, order: int, callback: Callable[[], None]) -> None:
        self.when_ns, self.order = when_ns, order
        self.callback: Callable[[], None] | None = callback

    def __lt__(self, other: Timer) -> bool:
        return (self.when_ns, self.order) < (other.when_ns, other.order)

    def cancel(self) -> None:
        self.callback = None


class TimerHeap:
    """Timers in order of time, then of making. Its user guards it."""

    __slots__ = ("_heap", "_order", "_purge_at")

    PURGE_FROM = 64

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = itertools.count()
        self._purge_at = self.PURGE_FROM

    def __len__(self) -> int:
        """Entries held, cancelled ones that have not been dropped yet included."""
        return len(self._heap)

    def add(self, when_ns: int, callback: Callable[[], None]) -> Timer:
        # Cancelled entries go when they come up; a guest that moves one far timer again and again would pile them up.
        if len(self._heap) >= self._purge_at:
            self._heap = [timer for timer in self._heap if timer.callback is not None]
            heapq.heapify(self._heap)
            self._purge_at = max(self.PURGE_FROM, 2 * len(self._heap))
        timer = Timer(when_ns, next(self._order), callback)
        heapq.heappush(self._heap, timer)
        return timer

    def next_ns(self) -> int | None:
        """When the next live timer is due, or None."""
        while self._heap and self._heap[0].callback is None:
            heapq.heappop(self._heap)
        return self._heap[0].when_ns if self._heap else None

    def take_due(self, now_ns: int) -> list[Timer]:
        """Take out every timer that is due, earliest first."""
        due: list[Timer] = []
        while (when_ns := self.next_ns()) is not None and when_ns <= now_ns:
            due.append(heapq.heappop(self._heap))
        return due

    def clear(self) -> None:
        self._heap.clear()


class VirtualClock:
    """Time that moves only when the guest runs or when everything sleeps: the same run, the same times.

    One guest instruction takes `ns_per_instruction`; when every vCPU sleeps, time jumps to the next timer.
    """

    is_host = False

    def __init__(self, *, ns_per_instruction: int = 1, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._ns_per_instruction = ns_per_instruction
        self._lock = threading.Lock()  # guards the heap: timers are made on any thread
        self._timers = TimerHeap()
        self.on_timer: Callable[[], None] | None = None
        """Told of every timer that is made, on its maker's thread."""

    def now_ns(self) -> int:
        return self._now_ns

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> TimerHandle:
        with self._lock:
            timer = self._timers.add(when_ns, callback)
        if self.on_timer is not None:
            self.on_timer()
        return timer

    def next_ns(self) -> int | None:
        """When the next timer is due, or None: the farthest a deterministic slice may go."""
        with self._lock:
            return self._timers.next_ns()

    def advance(self, ns: int) -> None:
        """Let `ns` nanoseconds pass, making the calls that fall due, each at its own time. The event loop's thread."""
        end_ns = self._now_ns + ns
        while (due_ns := self.next_ns()) is not None and due_ns <= end_ns:
            self._now_ns = max(self._now_ns, due_ns)
            with self._lock:
                due = self._timers.take_due(self._now_ns)
            for timer in due:
                callback = timer.callback  # looked at now: an earlier call may have cancelled this one
                if callback is not None:
                    callback()
        self._now_ns = max(self._now_ns, end_ns)

    def guest_ran(self, instructions: int) -> None:
        self.advance(instructions * self._ns_per_instruction)

    def idle(self) -> None:
        due = self.next_ns()
        if due is not None:
            self.advance(max(0, due - self._now_ns))

    def close(self) -> None:
        with self._lock:
            self._timers.clear()
