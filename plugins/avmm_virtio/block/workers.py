"""Threads that carry out what would block: requests of one disk, taken in the order they came, many at a time."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from avmm_virtio.block.blockdev import BlockRequest, Operation
from avmm_virtio.virtqueue import Virtqueue

MAX_WORKERS: Final = 16
_TOUCHES_MEMORY = (Operation.READ, Operation.WRITE)


class Workers:
    """Up to 16 threads, begun when they are needed.

    One thread is woken for a burst of requests. It carries out by itself what the page cache is quick with, and wakes the next
    one before it begins something that may take long: threads that have nothing to wait for would only wait for each other.
    """

    def __init__(
        self, name: str, carry_out: Callable[[BlockRequest], None], done: Callable[[Sequence[BlockRequest]], None]
    ) -> None:
        """`carry_out` may block and sets `error`; `done` is told without any lock held. Both run on the threads."""
        self._name, self._carry_out, self._done = name, carry_out, done
        self._allowed = os.sched_getaffinity(0)
        # Taken with the device lock held, and never the other way round.
        self._mutex = threading.Lock()
        self._left = threading.Condition(self._mutex)
        """Told whenever a thread has let go of guest memory and somebody waits for that."""
        self._waiting: deque[BlockRequest] = deque()
        self._touching: list[BlockRequest] = []
        """Those under way that read or write guest memory."""
        self._idle: list[threading.Lock] = []
        """What wakes each idle thread, the last to become idle at the end."""
        self._threads: list[threading.Thread] = []
        self._coming = self._closed = False
        """A thread was woken and has not looked yet; all are to end."""

    def submit(self, request: BlockRequest) -> None:
        """Have a thread carry `request` out."""
        with self._mutex:
            self._waiting.append(request)
            self._wake_one()

    def about_to_block(self) -> None:
        """Called by `carry_out` before what may take long: what waits is for another thread."""
        with self._mutex:
            if self._waiting:
                self._wake_one()

    def abandon(self, queue: Virtqueue) -> Sequence[BlockRequest]:
        """Drop what waits and is of `queue`, and wait until none of its memory is touched: no longer than a transfer takes."""
        with self._mutex:
            dropped = [request for request in self._waiting if request.queue is queue]
            for request in dropped:
                self._waiting.remove(request)
            self._left.wait_for(lambda: not any(request.queue is queue for request in self._touching))
        return dropped

    async def close(self) -> None:
        """Carry out what is left, and end every thread; they are joined when this returns or raises."""
        with self._mutex:
            self._closed = True
            for wake in self._idle:
                wake.release()
            self._idle.clear()
        joined = asyncio.get_running_loop().run_in_executor(None, self._join)
        while not joined.done():
            with suppress(asyncio.CancelledError):  # who cancels wants this to be over, and over is what it gets
                await asyncio.shield(joined)

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _wake_one(self) -> None:
        """Mutex held."""
        if self._coming:
            return
        if self._idle:
            self._coming = True
            self._idle.pop().release()
        elif len(self._threads) < MAX_WORKERS and not self._closed:
            self._coming = True
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        os.sched_setaffinity(0, self._allowed)  # and not only where the vCPU may that began it
        wake = threading.Lock()
        wake.acquire()
        while (request := self._take(wake)) is not None:
            self._carry_out(request)
            request.views = ()
            if request.operation in _TOUCHES_MEMORY:
                with self._mutex:
                    self._touching.remove(request)
                    self._left.notify_all()
            self._done((request,))

    def _take(self, wake: threading.Lock) -> BlockRequest | None:
        """The next request, waited for; None when there will be none."""
        while True:
            with self._mutex:
                self._coming = False
                if self._waiting:
                    request = self._waiting.popleft()
                    if request.operation in _TOUCHES_MEMORY:
                        self._touching.append(request)
                    return request
                if self._closed:
                    return None
                self._idle.append(wake)
            wake.acquire()
