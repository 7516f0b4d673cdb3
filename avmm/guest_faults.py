"""Odd things that a guest does: counted by kind, and logged without letting the guest fill the log."""

from __future__ import annotations

import threading

from avmm.log import EventLogger


class GuestFaults:
    """One VM's. Any thread."""

    def __init__(self, log: EventLogger) -> None:
        self._log = log
        self._lock = threading.Lock()
        self.counts: dict[str, int] = {}
        """How many there were, by kind."""

    def count(self, kind: str, detail: str) -> None:
        """Count one; log the first few of a kind, then ever more rarely."""
        with self._lock:
            count = self.counts[kind] = self.counts.get(kind, 0) + 1
        if count <= 4 or count & (count - 1) == 0:
            self._log.warning("guest fault", kind=kind, detail=detail, count=count)
