"""Threads that carry out what would block: requests of one disk, taken in the order they came, many at a time.

What mostly does not block is carried out by the thread that notifies, for as long as that is so."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from avmm.plugin import allowed_cores
from avmm_virtio.block.blockdev import BlockRequest, Operation
from avmm_virtio.virtqueue import Virtqueue

MAX_WORKERS: Final = 16
IN_PLACE: Final = 1 << 20
"""Bytes that the thread of a vCPU transfers for one notification: copying them takes less time than waking a thread for each."""
SLOW_NS: Final = 10_000_000
"""Where a vCPU's thread took longer, and slept, it was throttled or waited for the disk..."""
AWAY_NS: Final = 100_000_000
"""...and for so long nothing is tried there any more; twice as long each time it happens again, up to AWAY_MOST_NS."""
AWAY_MOST_NS: Final = 10_000_000_000
_TOUCHES_MEMORY = (Operation.READ, Operation.WRITE)


class Workers:
    """Up to 16 threads, begun when they are needed.

    One thread is woken for a burst of requests. It carries out by itself what the page cache is quick with, and wakes the next
    one before it begins something that may take long: threads that have nothing to wait for would only wait for each other.
    """

    def __init__(
        self,
        name: str,
        carry_out: Callable[[BlockRequest], None],
        done: Callable[[Sequence[BlockRequest]], None],
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`carry_out` may block and sets `error`; `done` is told without any lock held. Both run on the threads."""
        self._name, self._carry_out, self._done, self._now_ns = name, carry_out, done, now_ns
        self._allowed = allowed_cores()
        # Taken with the device lock held, and never the other way round.
        self._mutex = threading.Lock()
        self._left = threading.Condition(self._mutex)
        """Told whenever a thread has let go of guest memory and somebody waits for that."""
        self._waiting: deque[BlockRequest] = deque()
        self._left_here: deque[BlockRequest] = deque()
        """What `work_here` is to do, and how many bytes that is."""
        self._left_bytes = 0
        self._away_until_ns = self._away_ns = 0
        """Host time until which nothing is left to the threads that notify, and how long that was: being quick shortens it."""
        self.carried_out_here = 0
        """Requests that those threads carried out."""
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

    def worth_leaving(self, request: BlockRequest) -> bool:
        """Whether `request` is small, nothing is under way that it might wait for, and the last ones were quick."""
        return (
            self._left_bytes + request.size <= IN_PLACE
            and len(self._idle) == len(self._threads)
            and not self._waiting
            and self._now_ns() >= self._away_until_ns
        )

    def leave(self, request: BlockRequest) -> None:
        """Have `request` carried out by `work_here`, which the caller has taken care of."""
        with self._mutex:
            self._left_here.append(request)
            self._left_bytes += request.size

    def work_here(self) -> None:
        """Carry out what was left, and no more of what others leave meanwhile. Without the device lock."""
        began_ns, slept_before, done = self._now_ns(), _times_slept(), []
        for _ in range(len(self._left_here)):
            with self._mutex:
                if not self._left_here or self._closed:
                    break
                request = self._left_here.popleft()
                self._left_bytes -= request.size
                self._touching.append(request)
            self._carry_out(request)
            self._let_go(request)
            done.append(request)
        if done:
            self._look_at_the_clock(self._now_ns() - began_ns, slept_before)
            self.carried_out_here += len(done)
            self._done(done)

    def _look_at_the_clock(self, took_ns: int, slept_before: int) -> None:
        # Who did not sleep in between was kept from a core of the host's: so would any other thread have been.
        if took_ns > SLOW_NS and _times_slept() != slept_before:
            self._away_ns = min(max(2 * self._away_ns, AWAY_NS), AWAY_MOST_NS)
            self._away_until_ns = self._now_ns() + self._away_ns
        else:
            self._away_ns -= self._away_ns >> 8

    def about_to_block(self) -> None:
        """Called by `carry_out` before what may take long: what waits is for another thread."""
        with self._mutex:
            if self._waiting:
                self._wake_one()

    def abandon(self, queue: Virtqueue) -> Sequence[BlockRequest]:
        """Drop what waits and is of `queue`, and wait until none of its memory is touched: no longer than a transfer takes."""
        with self._mutex:
            dropped = [request for request in (*self._waiting, *self._left_here) if request.queue is queue]
            self._waiting = deque(request for request in self._waiting if request.queue is not queue)
            self._left_here = deque(request for request in self._left_here if request.queue is not queue)
            self._left_bytes = sum(request.size for request in self._left_here)
            self._left.wait_for(lambda: not any(request.queue is queue for request in self._touching))
        return dropped

    async def close(self) -> None:
        """Carry out what is left, and end every thread; they are joined, and no other is in here, when this returns or raises."""
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
        with self._mutex:
            self._left.wait_for(lambda: not self._touching)

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
            self._let_go(request)
            self._done((request,))

    def _let_go(self, request: BlockRequest) -> None:
        """`request` was carried out: its memory is the driver's."""
        request.views = ()
        if request.operation in _TOUCHES_MEMORY:
            with self._mutex:
                self._touching.remove(request)
                self._left.notify_all()

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


def _times_slept() -> int:
    """How often the calling thread waited for something; being kept from a core is not counted."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
