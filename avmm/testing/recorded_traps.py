"""Traps for an engine without a machine around it."""

from __future__ import annotations

import threading

from avmm.engine import Hypercall


class RecordedTraps:
    """Traps that record what comes, and do what a test wants."""

    def __init__(self) -> None:
        self.accesses: list[tuple[str, int, int, int]] = []
        """(`read` or `write`, address, width, value)."""
        self.threads: set[int] = set()
        self.value = 41
        """What a read returns."""
        self.on_access: list[object] = []
        """Exceptions to raise, or callables to call, one an access; then none."""
        self.calls = 0

    def _access(self, kind: str, address: int, width: int, value: int) -> None:
        self.accesses.append((kind, address, width, value))
        self.threads.add(threading.get_ident())
        if self.on_access:
            action = self.on_access.pop(0)
            if isinstance(action, BaseException):
                raise action
            if callable(action):
                action()

    def mmio_read(self, address: int, width: int) -> int:
        self._access("read", address, width, self.value)
        return self.value

    def mmio_write(self, address: int, width: int, value: int) -> None:
        self._access("write", address, width, value)

    def hypercall(self, call: Hypercall) -> None:
        self.calls += 1
        self._access("call", call.immediate, 0, call.argument(0))

    def tlb_flush_all(self) -> None:
        pass

    def count_tlb_flushes(self, made: int, handled: int, ipis: int) -> None:
        pass
