"""The entropy device (virtio 1.2, 5.4): random bytes of the host's, as many as the driver has room for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Final

from avmm.plugin import Clock, Figure, FigureKind, FigureValue, TimerHandle
from avmm_virtio.chain import Chain
from avmm_virtio.model import VirtioModel
from avmm_virtio.virtqueue import Virtqueue

MOST: Final = 4096
"""The most that one request is given, in bytes; the device may use less than a whole buffer (5.4.6.2)."""
RETRY_NS: Final = 100_000_000
"""When the host is asked again that had nothing yet."""
_NS_PER_S = 1_000_000_000
_WAITS = Figure("rng_waits", FigureKind.COUNTER, "Times a request for random bytes waited for the rate limit, or for the host.")

Source = Callable[[int], bytes]
"""So many random bytes, 1 to MOST; none at all when there are none without waiting."""


def host_random(size: int) -> bytes:
    """getrandom(2), which at the host's start may have nothing yet."""
    try:
        return os.getrandom(size, os.GRND_NONBLOCK)
    except BlockingIOError:
        return b""


class VirtioEntropy(VirtioModel):
    """A source of random bytes, served where the driver notifies: nothing here waits. Owner: the device lock."""

    device_id = 4
    queue_sizes = (64,)

    def __init__(self, clock: Clock, *, rate: int | None = None, source: Source = host_random) -> None:
        """`rate`: at most so many bytes a second (1 and up), a second's worth at once; None for no limit."""
        self._clock, self._rate, self._source = clock, rate, source
        self._budget_ns, self._since_ns = _NS_PER_S, clock.now_ns()
        """What may be given at once, in nanoseconds of the rate, as of `since`."""
        self._held: Chain | None = None
        """The request that waits; those behind it stay in the queue."""
        self._timer: TimerHandle | None = None
        self._paused = False
        self.waits = 0

    def notify(self, queue: Virtqueue) -> None:
        if self._held is not None or self._paused:
            return
        for chain in queue.chains():
            if not self._answer(queue, chain):
                self._held = chain
                self.waits += 1
                return

    def _answer(self, queue: Virtqueue, chain: Chain) -> bool:
        """Give `chain` back with random bytes; False when it is too early for that, and a timer is set."""
        size = min(chain.writable_bytes, MOST, self._rate or MOST)
        if not size:
            self.device.broken("a request for random bytes with no room for one")
            return True
        cost_ns = 0
        if self._rate is not None:
            cost_ns = size * _NS_PER_S // self._rate
            missing_ns = cost_ns - self._affordable_ns()
            if missing_ns > 0:
                self._try_again_in(missing_ns)
                return False
        data = self._source(size)
        if not data:
            self._try_again_in(RETRY_NS)
            return False
        self._budget_ns -= cost_ns
        queue.push(chain, chain.write(data))
        return True

    def _affordable_ns(self) -> int:
        now_ns = self._clock.now_ns()
        self._budget_ns = min(_NS_PER_S, self._budget_ns + now_ns - self._since_ns)
        self._since_ns = now_ns
        return self._budget_ns

    def _try_again_in(self, ns: int) -> None:
        self._cancel()
        self._timer = self._clock.call_at(self._clock.now_ns() + ns, self._again)

    def _again(self) -> None:
        """A timer's call, on the event loop."""
        with self.device.lock:
            chain, queue = self._held, self.device.queues[0]
            if chain is None or self._paused or not self._answer(queue, chain):
                return
            self._held = None
            self.notify(queue)
            queue.signal()

    def queue_reset(self, queue: Virtqueue) -> None:
        self.reset()

    def reset(self) -> None:
        self._held = None
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def quiesce(self) -> None:
        self._paused = True

    async def resume(self) -> None:
        self._paused = False
        self._again()
        self.device.serve_later()

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        return ((_WAITS, self.waits),)
