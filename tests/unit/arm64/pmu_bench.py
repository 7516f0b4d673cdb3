"""A PMU by itself: the test says what the guest does, and watches the line."""

from __future__ import annotations

from avmm.plugin import CountedEvent, DeviceLock
from avmm.testing.events import EventCounters
from avmm_arm64.pmu import Pmu
from avmm_arm64.pmu_events import PmuEvent

EL0, EL1 = 0, 1


class PmuBench(EventCounters):
    """Counts what it is told happened; stops at limits as an exact engine does."""

    counted_events = frozenset(CountedEvent)

    def __init__(self, *, counters: int = 6, version: int = 6, aarch32: bool = False) -> None:
        super().__init__()
        self.lines: list[bool] = []
        self.line_at: list[int] = []
        self.executed = 0
        self.pmu = Pmu(DeviceLock(), self._line, counters=counters, version=version, identity=0x4101, aarch32=aarch32)
        self.pmu.attach(self)

    def _line(self, level: bool) -> None:
        self.lines.append(level)
        self.line_at.append(self.executed)

    def happen(self, event: CountedEvent, times: int, level: int = EL1) -> None:
        """`event` happens `times` times at exception level `level`, one after the other as far as limits go."""
        while times:
            room = self.room(event, level)
            step = times if room is None else min(times, room)
            self.happened(event, level, step)
            self.executed += step
            times -= step
            self.settle()

    def run(self, instructions: int, level: int = EL1) -> None:
        """The guest executes instructions that touch nothing."""
        self.happen(CountedEvent.INSTRUCTIONS, instructions, level)

    def counter(self, index: int, event: int, value: int = 0, *, filters: int = 0) -> None:
        """Set counter `index` up and enable it."""
        self.pmu.write_type(index, event | filters)
        self.pmu.write_counter(index, value)
        self.pmu.enable(1 << index)

    def chain(self, even: int, value: int, odd: int, event: int = PmuEvent.INST_RETIRED) -> None:
        """Counters `even` and the next as a chained pair."""
        self.counter(even, event, value)
        self.counter(even + 1, PmuEvent.CHAIN, odd)
