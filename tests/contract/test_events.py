"""The scripted engine's events: counted where they happen, limits reached in the middle of a computation."""

from __future__ import annotations

import pytest

from avmm.engine import CountedEvent, EventLimit, event_bit
from avmm.exits import BUDGET_EXHAUSTED, HALTED
from avmm.testing import Call, Compute, MmioRead, ScriptedEngine, ScriptedVcpu
from avmm.testing.contract import RecordedTraps
from avmm.testing.events import EventCounters

INSTRUCTIONS = CountedEvent.INSTRUCTIONS
AT_EL1 = event_bit(INSTRUCTIONS, 1)


def counting(*program: object) -> ScriptedVcpu:
    vcpu = ScriptedEngine(program).create_vcpu(0, RecordedTraps(), (), ())  # type: ignore[arg-type]
    vcpu.count_events(AT_EL1)
    return vcpu


def test_every_step_is_an_instruction() -> None:
    vcpu = counting(Compute(10), MmioRead(0x10), Call(), HALTED)
    assert vcpu.enter() == HALTED
    assert vcpu.event_counts()[:2] == (0, 13)


def test_a_limit_is_reached_in_the_middle_of_a_computation() -> None:
    vcpu = counting(Compute(100), HALTED)
    seen: list[int] = []

    def reached() -> None:
        seen.append(vcpu.event_counts()[1])
        vcpu.limit_events([EventLimit(INSTRUCTIONS, 2, 30)], reached)

    vcpu.limit_events([EventLimit(INSTRUCTIONS, 3, 40), EventLimit(INSTRUCTIONS, 1, 1)], reached)
    assert vcpu.enter(50) == BUDGET_EXHAUSTED
    assert vcpu.enter() == HALTED
    assert seen == [40, 70, 100]


def test_a_trap_sees_its_own_instruction_carried_out() -> None:
    traps, seen = RecordedTraps(), []
    vcpu = ScriptedEngine([Compute(5), MmioRead(0x10), HALTED]).create_vcpu(0, traps, (), ())
    vcpu.count_events(AT_EL1)
    traps.mmio_read = lambda address, width: seen.append(vcpu.event_counts()[1]) or 0  # type: ignore[method-assign,func-returns-value]
    vcpu.enter()
    assert seen == [6]


def test_what_is_not_counted_stands_still() -> None:
    counters = EventCounters()
    counters.count_events(event_bit(CountedEvent.LOADS, 0))
    for event in CountedEvent:
        for level in (0, 1):
            counters.happened(event, level, 3)
    assert sum(counters.event_counts()) == 3


def test_masks_and_limits_that_make_no_sense() -> None:
    counters = EventCounters()
    with pytest.raises(ValueError, match="mask"):
        counters.count_events(1 << 2 * len(CountedEvent))
    for limit in (EventLimit(0, 0, 1), EventLimit(0, 1, 0), EventLimit(0, 3, 1 << 63)):
        with pytest.raises(ValueError, match="no such limit"):
            counters.limit_events([limit], lambda: None)
