"""The events of the PMU by number (Arm DDI 0487, "PMU events and event numbers"), and which of them can be counted.

The guest's machine executes one instruction a cycle: CPU_CYCLES and INST_RETIRED are the same count, cycles stand still while the
vCPU sleeps, and no cycle is ever a stall.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import IntEnum

from avmm.plugin import CountedEvent, Record


class PmuEvent(IntEnum):
    """Events that are counted here, or that an implementation must have."""

    SW_INCR = 0x00
    LD_RETIRED = 0x06
    ST_RETIRED = 0x07
    INST_RETIRED = 0x08
    EXC_TAKEN = 0x09
    EXC_RETURN = 0x0A
    BR_IMMED_RETIRED = 0x0D
    BR_RETURN_RETIRED = 0x0E
    CPU_CYCLES = 0x11
    MEM_ACCESS = 0x13
    INST_SPEC = 0x1B
    CHAIN = 0x1E
    BR_RETIRED = 0x21
    STALL_FRONTEND = 0x23
    STALL_BACKEND = 0x24
    STALL = 0x3C


COUNTED: dict[int, CountedEvent] = {
    PmuEvent.LD_RETIRED: CountedEvent.LOADS,
    PmuEvent.ST_RETIRED: CountedEvent.STORES,
    PmuEvent.INST_RETIRED: CountedEvent.INSTRUCTIONS,
    PmuEvent.EXC_TAKEN: CountedEvent.EXCEPTIONS,
    PmuEvent.EXC_RETURN: CountedEvent.EXCEPTION_RETURNS,
    PmuEvent.BR_IMMED_RETIRED: CountedEvent.IMMEDIATE_BRANCHES,
    PmuEvent.BR_RETURN_RETIRED: CountedEvent.RETURNS,
    PmuEvent.CPU_CYCLES: CountedEvent.INSTRUCTIONS,
    PmuEvent.MEM_ACCESS: CountedEvent.MEMORY_ACCESSES,
    PmuEvent.INST_SPEC: CountedEvent.INSTRUCTIONS,
    PmuEvent.BR_RETIRED: CountedEvent.BRANCHES,
}
"""What the engine counts for an event."""

_OWN = (PmuEvent.SW_INCR, PmuEvent.CHAIN, PmuEvent.STALL_FRONTEND, PmuEvent.STALL_BACKEND, PmuEvent.STALL)
"""Events that need no engine: counted by the PMU itself, or never happening."""


class EventRange(Record):
    """`count` events from `first` on (16 bits each), and whether they may be counted (KVM_ARM_VCPU_PMU_V3_FILTER)."""

    first: int
    count: int
    allow: bool


class EventRules:
    """Which events may be counted. Ranges take effect in order; the first one decides about events that none names."""

    def __init__(self, ranges: Iterable[EventRange] = ()) -> None:
        self._ranges = tuple(ranges)

    def allow(self, event: int) -> bool:
        """True when `event` may be counted."""
        allowed = not self._ranges or not self._ranges[0].allow
        for part in self._ranges:
            if part.first <= event < part.first + part.count:
                allowed = part.allow
        return allowed


def pmceid(engine: Collection[CountedEvent], rules: EventRules) -> tuple[int, int]:
    """PMCEID0_EL0 and PMCEID1_EL0: events 0 to 31 and 32 to 63, a bit each; the halves for 0x4000 and up are zero."""
    available = [*_OWN, *(event for event, counted in COUNTED.items() if counted in engine)]
    bits = sum(1 << event for event in available if rules.allow(event))
    return bits & 0xFFFF_FFFF, bits >> 32
