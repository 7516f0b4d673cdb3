"""A look at the event loop, ten times a second: how late it is, and which requests are to be timed next."""

from __future__ import annotations

import asyncio
import time

from avmm_prometheus.metric import NS_PER_S, Watched

PERIOD_S = 0.1
"""How often, in seconds: a bound for what timing requests costs, however many are made."""


class Probe:
    """The probe of one VM. Owned by the VM's event loop."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._loop = asyncio.get_running_loop()
        self._time_requests()
        self._plan()

    def _plan(self) -> None:
        # The host's time, whatever the VM's clock: the loop is the host's. uvloop's timers are to the millisecond.
        self._due_ns = time.monotonic_ns() + round(PERIOD_S * NS_PER_S)
        self._handle = self._loop.call_later(PERIOD_S, self._look)

    def _look(self) -> None:
        self._watched.loop_lag.count(max(0, time.monotonic_ns() - self._due_ns))
        self._time_requests()
        self._plan()

    def _time_requests(self) -> None:
        for vcpu in self._watched.vm.vcpus:
            vcpu.time_requests()

    def stop(self) -> None:
        """Look no more."""
        self._handle.cancel()
