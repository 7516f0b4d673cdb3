"""When every vCPU sleeps, virtual time jumps to the next timer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from avmm.clock import VirtualClock

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu


class Idle:
    """Lets virtual time go on while the guest does not. Owned by the event loop.

    Time stands still while a vCPU is paused: a pause takes none of the guest's.
    """

    def __init__(self, clock: VirtualClock, vcpus: Sequence[Vcpu]) -> None:
        self._clock, self._vcpus = clock, vcpus
        self._scheduled = False
        self._loop = asyncio.get_running_loop()
        clock.on_timer = self._timer_made

    def sleeps(self) -> None:
        """One more vCPU sleeps, or is about to look whether it must."""
        if not self._scheduled:
            # Not at once: a vCPU that has just woken another lets it run first.
            self._scheduled = True
            self._loop.call_soon(self._jump)

    def _timer_made(self) -> None:
        """A timer was made, on any thread: if all sleep already, nobody else would let its time come."""
        if all(vcpu.asleep for vcpu in self._vcpus) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.sleeps)

    def _jump(self) -> None:
        self._scheduled = False
        if all(vcpu.asleep and not vcpu.paused for vcpu in self._vcpus):
            self._clock.idle()
            if self._clock.next_ns() is not None:
                self.sleeps()  # that timer may have woken nobody: there is another
