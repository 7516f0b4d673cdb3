"""Where a vCPU's task sleeps: one waiter, woken from any thread (the kernel's rcuwait)."""

from __future__ import annotations

import asyncio
import threading


class WaitQueue:
    """The wait queue of one vCPU. `prepare` belongs to the vCPU's task, `take` and `resume` to anyone."""

    __slots__ = ("_loop", "_loop_thread", "waiter")

    def __init__(self) -> None:
        self.waiter: asyncio.Future[None] | None = None
        """Not None while the vCPU sleeps, or is about to. Any thread may look; only `take` takes it."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0

    def prepare(self) -> asyncio.Future[None]:
        """Get on the queue, before the last look at the condition."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop_thread = threading.get_ident()
        self.waiter = waiter = self._loop.create_future()
        return waiter  # not what is on the queue: a waker may have taken it already

    def take(self) -> asyncio.Future[None] | None:
        """Take the waiter off the queue, or None. Called under the vCPU's lock: only one gets it."""
        waiter, self.waiter = self.waiter, None
        return waiter

    def resume(self, waiter: asyncio.Future[None]) -> None:
        """Let the task of a taken `waiter` run again. Any thread."""
        if threading.get_ident() == self._loop_thread:
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
