"""Counted events of an engine that is no engine: totals, and limits that are reached exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from avmm.engine import CountedEvent, EventLimit, event_bit, event_index

_WORD = (1 << 64) - 1
_MASK = (1 << 2 * len(CountedEvent)) - 1


class EventCounters:
    """What `VcpuEngine.count_events`, `event_counts` and `limit_events` promise, for whoever says what happens."""

    def __init__(self) -> None:
        self.mask = 0
        """What is counted."""
        self.limits: list[EventLimit] = []
        """The limits not reached yet, as they were set."""
        self._counts = [0] * (2 * len(CountedEvent))
        self._ends: list[int] = []
        self._reached: Callable[[], None] | None = None

    def count_events(self, mask: int) -> None:
        """`VcpuEngine.count_events`."""
        if mask & ~_MASK:
            raise ValueError(f"{mask:#x} is no mask of events")
        self.mask = mask

    def event_counts(self) -> Sequence[int]:
        """`VcpuEngine.event_counts`."""
        return tuple(count & _WORD for count in self._counts)

    def limit_events(self, limits: Sequence[EventLimit], reached: Callable[[], None]) -> None:
        """`VcpuEngine.limit_events`."""
        if any(not 1 <= limit.count < 1 << 63 or limit.levels not in (1, 2, 3) for limit in limits):
            raise ValueError("no such limit")
        self.limits = list(limits)
        self._ends = [self._sum(limit) + limit.count for limit in limits]
        self._reached = reached

    def happened(self, event: int, level: int, times: int = 1) -> None:
        """`event` happened at exception level `level`, `times` times, if anybody counts."""
        if self.mask & event_bit(event, level):
            self._counts[event_index(event, level)] += times

    def room(self, event: int, level: int) -> int | None:
        """How often `event` may happen at `level` until a limit is reached; None without one."""
        left = [
            end - self._sum(limit)
            for limit, end in zip(self.limits, self._ends, strict=True)
            if limit.event == event and limit.levels >> level & 1
        ]
        return min(left, default=None)

    def settle(self) -> None:
        """Call `reached` if a limit is."""
        if any(self._sum(limit) >= end for limit, end in zip(self.limits, self._ends, strict=True)):
            assert self._reached is not None
            self.limits, self._ends = [], []
            self._reached()

    def _sum(self, limit: EventLimit) -> int:
        return sum(self._counts[event_index(limit.event, level)] for level in (0, 1) if limit.levels >> level & 1)
