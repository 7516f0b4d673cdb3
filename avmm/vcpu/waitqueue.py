"""Where a vCPU sleeps: one waiter, woken from any thread (the kernel's rcuwait)."""

from __future__ import annotations

import asyncio
import threading

from avmm.clock import NS_PER_S

_MAX_SLEEP_S = 3600.0


class ThreadWaiter:
    """What a thread sleeps on, as a task does on a future."""

    __slots__ = ("_gate",)

    def __init__(self) -> None:
        self._gate = threading.Lock()  # shut until it is set
        self._gate.acquire()

    def set(self) -> None:
        """Let the thread go on. By whoever took the waiter off the queue, on any thread."""
        self._gate.release()

    def wait(self, timeout_ns: int | None) -> None:
        """Block until it is set or `timeout_ns` nanoseconds have passed; None is an hour, after which one looks again."""
        self._gate.acquire(timeout=_MAX_SLEEP_S if timeout_ns is None else min(_MAX_SLEEP_S, max(0, timeout_ns) / NS_PER_S))


Waiter = asyncio.Future[None] | ThreadWaiter


class WaitQueue:
    """The wait queue of one vCPU. `prepare` belongs to the vCPU's own thread, `take` and `resume` to anyone."""

    __slots__ = ("_loop", "_loop_thread", "waiter")

    def __init__(self) -> None:
        self.waiter: Waiter | None = None
        """Not None while the vCPU sleeps, or is about to. Any thread may look; only `take` takes it."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0

    def prepare(self, *, here: bool) -> Waiter:
        """Get on the queue, before the last look at the condition: to sleep `here`, on this thread, or as a task."""
        if here:
            self.waiter = thread_waiter = ThreadWaiter()
            return thread_waiter
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop_thread = threading.get_ident()
        self.waiter = waiter = self._loop.create_future()
        return waiter  # not what is on the queue: a waker may have taken it already

    def take(self) -> Waiter | None:
        """Take the waiter off the queue, or None. Called under the vCPU's lock: only one gets it."""
        waiter, self.waiter = self.waiter, None
        return waiter

    def resume(self, waiter: Waiter) -> None:
        """Let the thread or the task of a taken `waiter` run again. Any thread."""
        if isinstance(waiter, ThreadWaiter):
            waiter.set()
        elif threading.get_ident() == self._loop_thread:
            if not waiter.done():
                waiter.set_result(None)
        else:
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(_set, waiter)
            except RuntimeError:  # the loop is closed, and its tasks with it
                pass


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
