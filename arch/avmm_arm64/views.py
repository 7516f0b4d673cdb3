"""An arm64 machine as a watcher sees it: what is set, driven or counting now, by the names that manuals give."""

from __future__ import annotations

from avmm.plugin import CounterView, LineView, TimerView
from avmm_arm64.gic.irq_state import IrqBank
from avmm_arm64.intid import FIRST_PPI, FIRST_SPI
from avmm_arm64.pmu import Pmu
from avmm_arm64.pmu_counters import CYCLE_COUNTER, bits
from avmm_arm64.pmu_events import PmuEvent
from avmm_arm64.timer import VcpuTimers


def timers(parts: VcpuTimers) -> tuple[TimerView, ...]:
    """The timers that are enabled and not masked. The device lock is held."""
    both = (("virtual", parts.virtual), ("physical", parts.physical))
    return tuple(TimerView(name, timer.due_ns) for name, timer in both if timer.due_ns is not None)


def lines(bank: IrqBank) -> tuple[LineView, ...]:
    """The interrupts of a bank that are enabled, pending or active. The device lock is held."""
    level, pending, active = bank.level, bank.pending(), bank.active
    return tuple(
        LineView(_name(bank.first + index), bool(level >> index & 1), bool(pending >> index & 1), bool(active >> index & 1))
        for index in bits(bank.enabled | pending | active)
    )


def _name(intid: int) -> str:
    if intid < FIRST_PPI:
        return f"SGI {intid}"
    return f"PPI {intid}" if intid < FIRST_SPI else f"SPI {intid - FIRST_SPI}"


def counters(pmu: Pmu | None) -> tuple[CounterView, ...]:
    """The counters that are enabled or not zero. The device lock is held."""
    if pmu is None:
        return ()
    return tuple(_counter(pmu, index) for index in (*range(pmu.counters), CYCLE_COUNTER) if pmu.in_use(index))


def _counter(pmu: Pmu, index: int) -> CounterView:
    number = pmu.event(index)
    event = PmuEvent(number).name if number in PmuEvent.__members__.values() else f"{number:#x}"
    name = "PMCCNTR_EL0" if index == CYCLE_COUNTER else f"PMEVCNTR{index}_EL0"
    return CounterView(name, event, pmu.enabled(index), pmu.last_value(index))
