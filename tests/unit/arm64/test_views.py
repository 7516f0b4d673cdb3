"""An arm64 machine as a watcher sees it."""

from __future__ import annotations

from avmm.plugin import CounterView, LineView, TimerView, VcpuView
from avmm_arm64.pmu_counters import CYCLE_COUNTER, E
from avmm_arm64.pmu_events import PmuEvent
from tests.unit.arm64.fakes import FakeMachine

ENABLE = 1
PPI27 = 1 << 27


def test_an_idle_machine_shows_nothing(machine: FakeMachine) -> None:
    assert machine.parts[0].view() == VcpuView()
    assert machine.arch.lines() == ()


def test_a_timer_shows_when_it_is_due_and_then_its_line(machine: FakeMachine) -> None:
    parts = machine.parts[0]
    virtual = parts.timers.virtual
    virtual.write_cval(6_250_000)  # 100 ms after the start
    virtual.write_ctl(ENABLE)
    parts.timers.update()
    assert virtual.due_ns is not None
    assert virtual.due_ns > machine.vm.clock.now_ns()
    assert parts.view() == VcpuView(timers=(TimerView("virtual", virtual.due_ns),))
    machine.vm.clock.advance(virtual.due_ns - machine.vm.clock.now_ns())
    assert parts.view().lines == (LineView("PPI 27", level=True, pending=True, active=False),)


def test_an_interrupt_that_is_enabled_shows_before_it_happens(machine: FakeMachine) -> None:
    bank = machine.arch.gic.private_bank(1)
    bank.enabled |= PPI27 | 1
    assert [line.name for line in machine.parts[1].view().lines] == ["SGI 0", "PPI 27"]
    assert machine.parts[0].view().lines == ()
    machine.arch.gic.set_spi_level(3, level=True)
    assert machine.arch.lines() == (LineView("SPI 3", level=True, pending=True, active=False),)
    spis = machine.arch.gic.distributor.spis
    spis.level, spis.active = 0, 1 << 3
    assert machine.arch.lines() == (LineView("SPI 3", level=False, pending=False, active=True),)


def test_a_counter_shows_once_it_counts_and_asks_nothing_of_the_engine(machine: FakeMachine) -> None:
    pmu = machine.parts[0].pmu
    assert pmu is not None
    pmu.write_type(0, PmuEvent.SW_INCR)
    pmu.write_type(1, 0x4F00)
    pmu.write_counter(1, 7)
    pmu.enable(1 | 1 << CYCLE_COUNTER)
    assert machine.parts[0].view().counters == (CounterView("PMEVCNTR1_EL0", "0x4f00", enabled=False, value=7),)
    pmu.write_pmcr(E)
    pmu.increment(1)
    assert machine.parts[0].view().counters == (
        CounterView("PMEVCNTR0_EL0", "SW_INCR", enabled=True, value=1),
        CounterView("PMEVCNTR1_EL0", "0x4f00", enabled=False, value=7),
        CounterView("PMCCNTR_EL0", "CPU_CYCLES", enabled=True, value=0),
    )
