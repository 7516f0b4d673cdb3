"""The counters of one vCPU's PMU: what they count, how wide they are, who overflows when, and what that interrupts.

Arm DDI 0487, "The Performance Monitors Extension". The engine counts what happens in the guest; the registers are in pmu.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from avmm.plugin import CountedEvent, DeviceLock, EventLimit, event_bit, event_index
from avmm_arm64.pmu_events import COUNTED, EventRules, PmuEvent

CYCLE_COUNTER = 31
"""The index of PMCCNTR_EL0 among the counters."""
MAX_EVENT_COUNTERS = 31

# PMCR_EL0
E, P, C, D, X, DP, LC, LP = (1 << bit for bit in range(8))
# PMEVTYPER<n>_EL0, PMCCFILTR_EL0
TYPE_U, TYPE_P = 1 << 30, 1 << 31

PMUV3, PMUV3P1, PMUV3P5 = 1, 4, 6
"""ID_AA64DFR0_EL1.PMUVer."""

_EL0, _EL1 = 1, 2
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1
CYCLE_BIT = 1 << CYCLE_COUNTER
_FAR = 1 << 62


class EventSource(Protocol):
    """Who counts: the part of `VcpuEngine` that is about events."""

    counted_events: frozenset[CountedEvent]

    def count_events(self, mask: int) -> None:
        """As `VcpuEngine.count_events`."""

    def event_counts(self) -> Sequence[int]:
        """As `VcpuEngine.event_counts`."""

    def limit_events(self, limits: Sequence[EventLimit], reached: Callable[[], None]) -> None:
        """As `VcpuEngine.limit_events`."""


class PmuCounters:
    """PMUv3 with `counters` event counters (0 to 31) and the cycle counter. Owner: the device lock.

    `identity` is PMCR_EL0[31:16], `version` ID_AA64DFR0_EL1.PMUVer. Without `aarch32`, PMCR_EL0.LC is RES1. `set_line(level)`
    drives the overflow interrupt. Counter values are brought up to date only when somebody looks, or when an overflow is due
    that interrupts.
    """

    def __init__(
        self,
        lock: DeviceLock,
        set_line: Callable[[bool], None],
        *,
        counters: int = 6,
        version: int = PMUV3P5,
        identity: int = 0,
        aarch32: bool = False,
    ) -> None:
        assert 0 <= counters <= MAX_EVENT_COUNTERS
        self._lock, self._set_line = lock, set_line
        self.counters, self.version = counters, version
        self._identity = identity << 16
        self._writable = E | D | X | DP | LC | (LP if version >= PMUV3P5 else 0)
        self._res1 = 0 if aarch32 else LC
        self._type_mask = TYPE_P | TYPE_U | (0xFFFF if version >= PMUV3P1 else 0x3FF)
        self._rules = EventRules()
        self._source: EventSource | None = None
        self._active: list[tuple[int, tuple[int, ...]]] = []
        """Counters that count what the engine tells, and where in its counts."""
        self._counts: Sequence[int] = ()
        self.line = False
        """The level of the overflow interrupt that was driven last."""
        self.interrupts = 0
        """Times the overflow interrupt went high."""
        self.overflows = [0, 0]
        """Times a counter wrapped: event counters, the cycle counter."""
        self._clear()

    def _clear(self) -> None:
        self._pmcr = self._res1
        self._enabled = self._interrupting = self._overflowed = 0
        self.select = self.userenr = 0
        self._values = [0] * 32
        self._types = [0] * 32

    # Around the registers.

    def attach(self, source: EventSource) -> None:
        """Who counts. Once, before anything else."""
        self._source = source

    def reset(self) -> None:
        """Warm reset: disabled, nothing pending; what the architecture leaves unknown is zero."""
        self._clear()
        self._program()
        self._update_line()

    def set_rules(self, rules: EventRules) -> None:
        """Allow and deny events; before the vCPU has run."""
        self._rules = rules
        self.reload()

    def reload(self) -> None:
        """RELOAD_PMU: look again at what is counted. The vCPU's own thread."""
        self._sync()
        self._program()
        self._update_line()

    def flush(self) -> None:
        """Before entry: the line as it is now (kvm_pmu_flush_hwstate)."""
        if self._level() is not self.line:
            with self._lock:
                self._update_line()

    def sync_after_exit(self) -> None:
        """After an exit: an overflow by the very instruction that left the guest (kvm_pmu_sync_hwstate)."""
        if self._active:
            with self._lock:
                self._sync()
                self._update_line()

    @property
    def counting(self) -> bool:
        """True while a counter counts what the engine has to tell."""
        return bool(self._active)

    def enabled(self, index: int) -> bool:
        """True while counter `index` is enabled, by itself and by PMCR_EL0.E."""
        return bool(self._pmcr & E and self._enabled >> index & 1)

    def in_use(self, index: int) -> bool:
        """True when counter `index` is enabled or not zero."""
        return self.enabled(index) or self._values[index] != 0

    def event(self, index: int) -> int:
        """The number of the event that counter `index` counts."""
        return PmuEvent.CPU_CYCLES if index == CYCLE_COUNTER else self._types[index] & 0xFFFF

    def last_value(self, index: int) -> int:
        """Counter `index` as of the last time it was brought up to date. Asks nothing of the engine, so any thread may."""
        return self._values[index]

    # Counting.

    def _valid(self) -> int:
        return CYCLE_BIT | (1 << self.counters) - 1

    def _sync(self) -> None:
        """Add to the counters what happened since the last time."""
        if not self._active:
            return
        assert self._source is not None
        before, now = self._counts, self._source.event_counts()
        self._counts = now
        for index, places in self._active:
            happened = sum([now[place] - before[place] & _U64 for place in places])
            if happened:
                self._advance(index, happened)

    def _advance(self, index: int, times: int) -> None:
        """Counter `index` counts `times` events."""
        before = self._values[index]
        wide = self._wide(index)
        wraps = before + times >> 64 if wide else (before & _U32) + times >> 32
        self._values[index] = before + times & self._value_mask(index)
        if wraps:
            self._overflowed |= 1 << index
            self.overflows[index == CYCLE_COUNTER] += wraps
            if not wide and self._chained(index):
                self._advance(index + 1, wraps)

    def _wide(self, index: int) -> bool:
        """True when the counter overflows at 64 bits, not at 32."""
        return bool(self._pmcr & (LC if index == CYCLE_COUNTER else LP))

    def _value_mask(self, index: int) -> int:
        return _U64 if index == CYCLE_COUNTER or self.version >= PMUV3P5 else _U32

    def _chained(self, index: int) -> bool:
        """True when the next counter counts this one's overflows: an even one, the next enabled with event CHAIN."""
        odd = index + 1
        return (
            not index & 1
            and odd < self.counters
            and bool(self._enabled >> odd & 1)
            and bool(self._pmcr & E)
            and self.event(odd) == PmuEvent.CHAIN
        )

    def _program(self) -> None:
        """Tell the engine what to count from here on, and how far it is to the next overflow that interrupts."""
        source = self._source
        if source is None:
            return
        active: list[tuple[int, tuple[int, ...]]] = []
        limits: list[EventLimit] = []
        mask = 0
        for index in bits(self._enabled if self._pmcr & E else 0):
            event = self.event(index)
            counted, levels = COUNTED.get(event), self._levels(index)
            if counted is None or not levels or counted not in source.counted_events or not self._rules.allow(event):
                continue
            active.append((index, tuple(event_index(counted, level) for level in (0, 1) if levels >> level & 1)))
            mask |= sum(event_bit(counted, level) for level in (0, 1) if levels >> level & 1)
            if self._interrupts_at_overflow(index):
                limits.append(EventLimit(counted, levels, self._distance(index)))
        if not active and not self._active:
            return
        self._active = active
        self._counts = source.event_counts()
        source.count_events(mask)
        source.limit_events(limits, self._reached)

    def _levels(self, index: int) -> int:
        type_ = self._types[index]
        return (0 if type_ & TYPE_U else _EL0) | (0 if type_ & TYPE_P else _EL1)

    def _interrupts_at_overflow(self, index: int) -> bool:
        if self._interrupting >> index & 1:
            return True
        return self._chained(index) and not self._wide(index) and bool(self._interrupting >> index + 1 & 1)

    def _distance(self, index: int) -> int:
        """Events to the next overflow; less when that is farther than any engine goes, which then asks again."""
        value = self._values[index]
        return min((1 << 64) - value, _FAR) if self._wide(index) else (1 << 32) - (value & _U32)

    def _reached(self) -> None:
        """A counter has just overflowed: inside the guest's entry, between two instructions."""
        with self._lock:
            self.reload()

    def _level(self) -> bool:
        return bool(self._pmcr & E and self._overflowed & self._interrupting)

    def _update_line(self) -> None:
        level = self._level()
        if level is not self.line:
            self.line = level
            self.interrupts += level
            self._set_line(level)


def bits(mask: int) -> Iterator[int]:
    """The numbers of the bits set, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
