"""The system registers of the PMU (Arm DDI 0487, "Performance Monitors registers"): encodings, and what EL0 may reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from avmm.plugin import Undefined
from avmm_arm64.pmu import Pmu
from avmm_arm64.pmu_counters import CYCLE_COUNTER, MAX_EVENT_COUNTERS

Encoding = tuple[int, int, int, int, int]
Read = Callable[[], int]
Write = Callable[[int], None]

# PMUSERENR_EL0
EN, SW, CR, ER = 1 << 0, 1 << 1, 1 << 2, 1 << 3


class Owner(Protocol):
    """The vCPU the registers belong to."""

    def current_el(self) -> int:
        """The exception level of the access, 0 or 1."""


@dataclass(frozen=True, slots=True)
class PmuRegister:
    """A register and what its accesses do; None: Undefined."""

    name: str
    encoding: Encoding
    read: Read | None
    write: Write | None
    el0: bool = True


def pmu_registers(vcpu: Owner, pmu: Pmu) -> Iterator[PmuRegister]:
    """All registers of the PMU of one vCPU."""
    gate = _Gate(vcpu, pmu)
    for name, op2, read, write in (
        ("PMCR_EL0", 0, pmu.read_pmcr, pmu.write_pmcr),
        ("PMCNTENSET_EL0", 1, pmu.read_enabled, pmu.enable),
        ("PMCNTENCLR_EL0", 2, pmu.read_enabled, pmu.disable),
        ("PMOVSCLR_EL0", 3, pmu.read_overflowed, pmu.clear_overflowed),
    ):
        yield PmuRegister(name, (3, 3, 9, 12, op2), gate.read(EN, read), gate.write(EN, write))
    yield PmuRegister("PMSWINC_EL0", (3, 3, 9, 12, 4), None, gate.write(SW | EN, pmu.increment))
    select = gate.read(ER | EN, lambda: pmu.select), gate.write(ER | EN, pmu.write_select)
    yield PmuRegister("PMSELR_EL0", (3, 3, 9, 12, 5), *select)
    yield PmuRegister("PMCEID0_EL0", (3, 3, 9, 12, 6), gate.read(EN, lambda: pmu.read_pmceid(0)), None)
    yield PmuRegister("PMCEID1_EL0", (3, 3, 9, 12, 7), gate.read(EN, lambda: pmu.read_pmceid(1)), None)
    cycles = _counter(gate, pmu, lambda: CYCLE_COUNTER, CR | EN)
    yield PmuRegister("PMCCNTR_EL0", (3, 3, 9, 13, 0), *cycles)
    yield PmuRegister("PMXEVTYPER_EL0", (3, 3, 9, 13, 1), *_type(gate, pmu, lambda: pmu.select))
    yield PmuRegister("PMXEVCNTR_EL0", (3, 3, 9, 13, 2), *_counter(gate, pmu, lambda: pmu.select, ER | EN))
    yield PmuRegister("PMUSERENR_EL0", (3, 3, 9, 14, 0), lambda: pmu.userenr, gate.write(0, pmu.write_userenr))
    overflow = gate.read(EN, pmu.read_overflowed), gate.write(EN, pmu.set_overflowed)
    yield PmuRegister("PMOVSSET_EL0", (3, 3, 9, 14, 3), *overflow)
    # Not for EL0, whatever PMUSERENR_EL0 says: the encoding alone keeps it out.
    interrupts = pmu.read_interrupting
    yield PmuRegister("PMINTENSET_EL1", (3, 0, 9, 14, 1), interrupts, pmu.enable_interrupts, el0=False)
    yield PmuRegister("PMINTENCLR_EL1", (3, 0, 9, 14, 2), interrupts, pmu.disable_interrupts, el0=False)
    yield PmuRegister("PMMIR_EL1", (3, 0, 9, 14, 6), lambda: 0, None, el0=False)
    for index in range(MAX_EVENT_COUNTERS):
        place = index >> 3, index & 7
        counter = _counter(gate, pmu, _constant(index), ER | EN)
        yield PmuRegister(f"PMEVCNTR{index}_EL0", (3, 3, 14, 8 + place[0], place[1]), *counter)
        yield PmuRegister(f"PMEVTYPER{index}_EL0", (3, 3, 14, 12 + place[0], place[1]), *_type(gate, pmu, _constant(index)))
    yield PmuRegister("PMCCFILTR_EL0", (3, 3, 14, 15, 7), *_type(gate, pmu, lambda: CYCLE_COUNTER))


class _Gate:
    """PMUSERENR_EL0: lets an access from EL0 through if one of the bits is set that it needs."""

    def __init__(self, vcpu: Owner, pmu: Pmu) -> None:
        self._vcpu, self._pmu = vcpu, pmu

    def check(self, needs: int) -> None:
        """Undefined for an access from EL0 that is not allowed."""
        if not self._pmu.userenr & needs and self._vcpu.current_el() == 0:
            raise Undefined

    def read(self, needs: int, read: Read) -> Read:
        """`read`, from EL0 only with one of `needs`."""

        def gated() -> int:
            self.check(needs)
            return read()

        return gated

    def write(self, needs: int, write: Write) -> Write:
        """`write`, from EL0 only with one of `needs`."""

        def gated(value: int) -> None:
            self.check(needs)
            write(value)

        return gated


def _counter(gate: _Gate, pmu: Pmu, index: Callable[[], int], needs: int) -> tuple[Read, Write]:
    """A counter that EL0 may read with one of `needs` and write with EN alone."""
    return (
        gate.read(needs, lambda: pmu.read_counter(_existing(pmu, index()))),
        gate.write(EN, lambda value: pmu.write_counter(_existing(pmu, index()), value)),
    )


def _type(gate: _Gate, pmu: Pmu, index: Callable[[], int]) -> tuple[Read, Write]:
    return (
        gate.read(EN, lambda: pmu.read_type(_existing(pmu, index()))),
        gate.write(EN, lambda value: pmu.write_type(_existing(pmu, index()), value)),
    )


def _existing(pmu: Pmu, index: int) -> int:
    """Undefined for an event counter that is not implemented."""
    if not pmu.has_counter(index):
        raise Undefined
    return index


def _constant(index: int) -> Callable[[], int]:
    return lambda: index
