"""The device lock: one a VM, held around every access to a device, so that a device's methods never run at the same time."""

from __future__ import annotations

import threading
from types import TracebackType


class DeviceLock:
    """A re-entrant lock that knows whether the calling thread holds it.

    Held for the length of one register access or one call into a device; never across an await, and never while waiting for
    another vCPU (which may itself be waiting for this lock).
    """

    __slots__ = ("_depth", "_lock", "_owner")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner = 0
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = threading.get_ident()
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = 0
        self._lock.release()

    def held(self) -> bool:
        """True when the calling thread holds the lock."""
        return self._owner == threading.get_ident()
