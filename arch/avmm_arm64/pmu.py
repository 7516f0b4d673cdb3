"""The performance monitors of one vCPU (Arm DDI 0487, "The Performance Monitors Extension", FEAT_PMUv3p5): the register model.

Where the architecture leaves a choice, the choice is Linux KVM's.
"""

from __future__ import annotations

from avmm_arm64.pmu_counters import CYCLE_BIT, CYCLE_COUNTER, C, E, P, PmuCounters, bits
from avmm_arm64.pmu_events import PmuEvent, pmceid

USERENR_MASK = 0xF
_PMCR_N_SHIFT = 11


class Pmu(PmuCounters):
    """The registers. Values are unsigned; bits beyond a register's own are ignored when written."""

    def read_pmcr(self) -> int:
        """PMCR_EL0; P and C read as zero."""
        return self._identity | self.counters << _PMCR_N_SHIFT | self._pmcr

    def write_pmcr(self, value: int) -> None:
        """PMCR_EL0. D, X and DP are kept and do nothing; neither P nor C touches the overflow flags."""
        self._sync()
        self._pmcr = value & self._writable | self._res1
        if value & C:
            self._values[CYCLE_COUNTER] = 0
        if value & P:
            self._values[: self.counters] = [0] * self.counters
        self._program()
        self._update_line()

    def read_enabled(self) -> int:
        """PMCNTENSET_EL0, PMCNTENCLR_EL0."""
        return self._enabled

    def enable(self, value: int) -> None:
        """PMCNTENSET_EL0."""
        self._set_enabled(self._enabled | value & self._valid())

    def disable(self, value: int) -> None:
        """PMCNTENCLR_EL0."""
        self._set_enabled(self._enabled & ~value)

    def _set_enabled(self, enabled: int) -> None:
        self._sync()
        self._enabled = enabled
        self._program()
        self._update_line()

    def read_interrupting(self) -> int:
        """PMINTENSET_EL1, PMINTENCLR_EL1."""
        return self._interrupting

    def enable_interrupts(self, value: int) -> None:
        """PMINTENSET_EL1."""
        self._set_interrupting(self._interrupting | value & self._valid())

    def disable_interrupts(self, value: int) -> None:
        """PMINTENCLR_EL1."""
        self._set_interrupting(self._interrupting & ~value)

    def _set_interrupting(self, interrupting: int) -> None:
        self._sync()
        self._interrupting = interrupting
        self._program()
        self._update_line()

    def read_overflowed(self) -> int:
        """PMOVSSET_EL0, PMOVSCLR_EL0."""
        self._sync()
        self._update_line()
        return self._overflowed

    def set_overflowed(self, value: int) -> None:
        """PMOVSSET_EL0."""
        self._sync()
        self._overflowed |= value & self._valid()
        self._update_line()

    def clear_overflowed(self, value: int) -> None:
        """PMOVSCLR_EL0."""
        self._sync()
        self._overflowed &= ~value
        self._update_line()

    def increment(self, value: int) -> None:
        """PMSWINC_EL0: each selected event counter whose event is SW_INCR counts one. Exception levels do not matter to it."""
        self._sync()
        if self._pmcr & E:
            for index in bits(value & self._enabled & ~CYCLE_BIT):
                if self.event(index) == PmuEvent.SW_INCR:
                    self._advance(index, 1)
        self._update_line()

    def write_select(self, value: int) -> None:
        """PMSELR_EL0."""
        self.select = value & 0x1F

    def write_userenr(self, value: int) -> None:
        """PMUSERENR_EL0."""
        self.userenr = value & USERENR_MASK

    def read_pmceid(self, number: int) -> int:
        """PMCEID0_EL0, PMCEID1_EL0."""
        return pmceid(self._source.counted_events if self._source is not None else frozenset(), self._rules)[number]

    def has_counter(self, index: int) -> bool:
        """True when counter `index` (0 to 31) exists."""
        return index < self.counters or index == CYCLE_COUNTER

    def read_counter(self, index: int) -> int:
        """PMEVCNTR<n>_EL0, PMCCNTR_EL0."""
        self._sync()
        self._update_line()
        return self._values[index]

    def write_counter(self, index: int, value: int) -> None:
        """PMEVCNTR<n>_EL0 (32 bits before PMUv3p5, 64 since), PMCCNTR_EL0. Takes effect at once."""
        self._sync()
        self._values[index] = value & self._value_mask(index)
        self._program()
        self._update_line()

    def read_type(self, index: int) -> int:
        """PMEVTYPER<n>_EL0, PMCCFILTR_EL0."""
        return self._types[index]

    def write_type(self, index: int, value: int) -> None:
        """PMEVTYPER<n>_EL0, PMCCFILTR_EL0: the event, and P and U, which leave out EL1 and EL0. The counter keeps its value."""
        self._sync()
        self._types[index] = value & self._type_mask
        self._program()
        self._update_line()
