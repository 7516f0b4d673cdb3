"""The overflow interrupt: a level, made of PMOVSSET, PMINTENSET and PMCR.E, exact to the event."""

from __future__ import annotations

import pytest

from avmm.plugin import CountedEvent
from avmm_arm64.pmu_counters import LP, TYPE_P, TYPE_U, E, P
from avmm_arm64.pmu_events import PmuEvent
from tests.unit.arm64.pmu_bench import EL0, EL1, PmuBench

CYCLES = 31
U32, U64 = (1 << 32) - 1, (1 << 64) - 1
INST = PmuEvent.INST_RETIRED


@pytest.fixture
def bench() -> PmuBench:
    return PmuBench()


def test_the_line_is_overflow_and_interrupt_and_e(bench: PmuBench) -> None:
    pmu = bench.pmu
    pmu.set_overflowed(1)
    pmu.write_pmcr(E)
    assert not pmu.line
    pmu.enable_interrupts(0b10)
    assert not pmu.line
    pmu.enable_interrupts(0b01)
    assert pmu.line, "an overflow that is there already"
    pmu.write_pmcr(0)
    assert not pmu.line
    pmu.write_pmcr(E)
    assert pmu.line
    pmu.disable_interrupts(1)
    assert not pmu.line
    pmu.enable_interrupts(1)
    pmu.clear_overflowed(1)
    assert not pmu.line
    pmu.set_overflowed(1)
    assert pmu.line, "set by software, too"
    assert bench.lines == [True, False] * 3 + [True]
    assert pmu.interrupts == 4


def test_the_line_has_nothing_to_do_with_enabled_counters(bench: PmuBench) -> None:
    bench.counter(0, INST, U32)
    bench.pmu.enable_interrupts(1)
    bench.pmu.write_pmcr(E)
    bench.run(1)
    assert bench.pmu.line
    bench.pmu.disable(1)
    assert bench.pmu.line


def test_p_keeps_the_line(bench: PmuBench) -> None:
    bench.pmu.enable_interrupts(1)
    bench.pmu.set_overflowed(1)
    bench.pmu.write_pmcr(E | P)
    assert bench.pmu.line


@pytest.mark.parametrize("index", [0, 5, CYCLES])
@pytest.mark.parametrize("distance", [1, 2, 1000])
def test_the_line_rises_with_the_very_event(bench: PmuBench, index: int, distance: int) -> None:
    bench.counter(index, INST, (U64 if index == CYCLES else U32) + 1 - distance)
    bench.pmu.enable_interrupts(1 << index)
    bench.pmu.write_pmcr(E)
    bench.run(2000)
    assert bench.lines == [True]
    assert bench.line_at == [distance]


def test_at_64_bits_with_lp(bench: PmuBench) -> None:
    bench.counter(0, INST, U64 - 9)
    bench.pmu.enable_interrupts(1)
    bench.pmu.write_pmcr(E | LP)
    bench.run(100)
    assert bench.line_at == [10]


def test_no_limit_for_a_counter_that_does_not_interrupt(bench: PmuBench) -> None:
    bench.counter(0, INST, U32)
    bench.pmu.write_pmcr(E)
    assert not bench.limits
    bench.pmu.enable_interrupts(1)
    assert [limit.count for limit in bench.limits] == [1]
    bench.pmu.disable_interrupts(1)
    assert not bench.limits


def test_again_after_2_to_the_32(bench: PmuBench) -> None:
    bench.counter(0, INST, U32)
    bench.pmu.enable_interrupts(1)
    bench.pmu.write_pmcr(E)
    bench.run(1)
    bench.pmu.clear_overflowed(1)
    bench.run((1 << 32) - 1)
    assert bench.lines == [True, False]
    bench.run(1)
    assert bench.lines == [True, False, True]


def test_a_limit_too_far_for_an_engine_is_set_in_steps(bench: PmuBench) -> None:
    bench.counter(CYCLES, 0, 0)
    bench.pmu.enable_interrupts(1 << CYCLES)
    bench.pmu.write_pmcr(E)
    for _ in range(4):
        assert not bench.lines
        bench.run(1 << 62)
    assert bench.lines == [True]


def test_an_interrupt_of_the_odd_half_alone(bench: PmuBench) -> None:
    bench.chain(0, U32 - 4, U32)
    bench.pmu.enable_interrupts(0b10)
    bench.pmu.write_pmcr(E)
    bench.run(100)
    assert bench.line_at == [5]
    assert bench.pmu.read_overflowed() == 0b11


def test_filters_count_for_the_distance(bench: PmuBench) -> None:
    bench.counter(0, INST, U32 - 4, filters=TYPE_P)
    bench.counter(1, INST, U32 - 4, filters=TYPE_U)
    bench.pmu.enable_interrupts(0b11)
    bench.pmu.write_pmcr(E)
    bench.run(4, EL0)
    bench.run(4, EL1)
    assert not bench.lines
    bench.run(1, EL0)
    assert bench.line_at == [9]
    assert bench.pmu.read_overflowed() == 0b01


def test_software_increments_interrupt(bench: PmuBench) -> None:
    bench.counter(0, PmuEvent.SW_INCR, U32)
    bench.pmu.enable_interrupts(1)
    bench.pmu.write_pmcr(E)
    bench.pmu.increment(1)
    assert bench.lines == [True]


def test_a_write_moves_the_distance(bench: PmuBench) -> None:
    bench.counter(0, INST, U32 - 4)
    bench.pmu.enable_interrupts(1)
    bench.pmu.write_pmcr(E)
    bench.run(4)
    bench.pmu.write_counter(0, 0)
    bench.run(100)
    assert not bench.lines
    bench.pmu.write_counter(0, U32 - 9)
    bench.run(100)
    assert bench.line_at == [114]


def test_an_overflow_by_what_left_the_guest(bench: PmuBench) -> None:
    """A limit that is reached by WFI is told at the next entry; the line must be there before, or nothing would wake."""
    bench.counter(0, INST, U32)
    bench.pmu.enable_interrupts(1)
    bench.pmu.write_pmcr(E)
    bench.happened(CountedEvent.INSTRUCTIONS, EL1)
    assert not bench.lines
    bench.pmu.sync_after_exit()
    assert bench.lines == [True]
    bench.settle()
    assert bench.lines == [True]


def test_flush_drives_the_line_as_it_is_now(bench: PmuBench) -> None:
    bench.pmu.enable_interrupts(1)
    bench.pmu.set_overflowed(1)
    bench.pmu.write_pmcr(E)
    bench.pmu.line = False  # whoever drives it has forgotten
    bench.pmu.flush()
    bench.pmu.flush()
    assert bench.lines == [True, True]
