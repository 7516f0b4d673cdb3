"""What a watcher may see of a machine beside its figures: timers that run, lines that are driven, counters that count.

Made on request, by the architecture, as things are at that moment; nothing is kept for it while nobody asks.
"""

from __future__ import annotations

from avmm.record import Record


class TimerView(Record):
    """A timer that is set."""

    name: str
    due_ns: int
    """When its interrupt line goes high, in nanoseconds of the VM's clock; 0 when it is high already."""


class LineView(Record):
    """An input of the interrupt controller that is in use."""

    name: str
    level: bool
    """What the wire shows now."""
    pending: bool
    """Waiting to be acknowledged."""
    active: bool
    """Acknowledged, and not yet ended."""


class CounterView(Record):
    """A performance counter that is enabled, or has counted."""

    name: str
    event: str
    enabled: bool
    value: int
    """Unsigned, 64 bits; of the last time it was brought up to date: the counter itself may be ahead."""


class VcpuView(Record):
    """What belongs to one vCPU."""

    timers: tuple[TimerView, ...] = ()
    lines: tuple[LineView, ...] = ()
    counters: tuple[CounterView, ...] = ()
