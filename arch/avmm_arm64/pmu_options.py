"""The options `pmu`, `pmu_counters` and `pmu_irq` of an arm64 machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from avmm.plugin import ConfigError
from avmm_arm64.interrupt_claims import FIRST_SPI
from avmm_arm64.layout import SPI_COUNT
from avmm_arm64.pmu_counters import MAX_EVENT_COUNTERS
from avmm_arm64.timer import is_ppi

KEYS = ("pmu", "pmu_counters", "pmu_irq")


@dataclass(frozen=True, slots=True)
class PmuOptions:
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


def pmu_options(options: Mapping[str, object], vcpus: int) -> PmuOptions:
    """From the machine's `[arch]` table; ConfigError for values that cannot be."""
    default = PmuOptions()
    present = options.get("pmu", default.present)
    if not isinstance(present, bool):
        raise ConfigError(f"{present!r} is neither true nor false", key="arch.pmu")
    counters = _number(options, "pmu_counters", default.counters)
    if not 0 <= counters <= MAX_EVENT_COUNTERS:
        raise ConfigError(f"{counters} is not from 0 to {MAX_EVENT_COUNTERS}", key="arch.pmu_counters")
    irq = _number(options, "pmu_irq", default.irq)
    last = FIRST_SPI + SPI_COUNT - vcpus
    if not is_ppi(irq) and not FIRST_SPI <= irq <= last:
        reason = f"{irq} is neither a private interrupt (16 to 31) nor a first shared one (32 to {last})"
        raise ConfigError(reason, key="arch.pmu_irq")
    return PmuOptions(present, counters, irq)


def _number(options: Mapping[str, object], key: str, default: int) -> int:
    value = options.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{value!r} is not a whole number", key=f"arch.{key}")
    return value
