"""The options `pmu`, `pmu_counters` and `pmu_irq` of an arm64 machine."""

from __future__ import annotations

from avmm.plugin import OptionTable, Record
from avmm_arm64.intid import FIRST_PPI, FIRST_SPI, SPI_COUNT, is_ppi
from avmm_arm64.pmu_counters import MAX_EVENT_COUNTERS

KEYS = ("pmu", "pmu_counters", "pmu_irq")


class PmuOptions(Record):
    """The PMU of every vCPU of a VM."""

    present: bool = True
    counters: int = 6
    """Event counters, 0 to 31."""
    irq: int = 23
    """The overflow interrupt: one private INTID (16 to 31) for all vCPUs, or vCPU 0's shared one, the next vCPU's behind it."""

    def intid(self, index: int) -> int:
        """The overflow interrupt of vCPU `index`."""
        return self.irq if is_ppi(self.irq) else self.irq + index


NO_PMU = PmuOptions(present=False)


def pmu_options(table: OptionTable, vcpus: int) -> PmuOptions:
    """From the machine's `[arch]` table; ConfigError for values that cannot be."""
    default = PmuOptions()
    counters = table.integer("pmu_counters", 0, MAX_EVENT_COUNTERS)
    # Private interrupts, 16 to 31, and behind them the shared ones: each vCPU has one of its own.
    irq = table.integer("pmu_irq", FIRST_PPI, FIRST_SPI + SPI_COUNT - vcpus)
    return PmuOptions(
        table.flag("pmu", default=default.present),
        default.counters if counters is None else counters,
        default.irq if irq is None else irq,
    )
