"""When every vCPU sleeps, virtual time jumps to the next timer."""

from __future__ import annotations

import asyncio

from avmm.clock import Clock


class Idle:
    """Counts the sleeping vCPUs of one VM. Owned by the event loop."""

    def __init__(self, clock: Clock, vcpus: int) -> None:
        self._clock, self._vcpus = clock, vcpus
        self._asleep = 0
        self._scheduled = False

    def sleeps(self) -> None:
        """One more vCPU sleeps."""
        self._asleep += 1
        self._look()

    def woke(self) -> None:
        """One fewer."""
        self._asleep -= 1

    def _look(self) -> None:
        if self._asleep == self._vcpus and not self._scheduled:
            # Not at once: the last to sleep has yet to look whether it must.
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._jump)

    def _jump(self) -> None:
        self._scheduled = False
        if self._asleep == self._vcpus:
            self._clock.idle()
