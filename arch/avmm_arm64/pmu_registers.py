"""The system registers of the PMU (Arm DDI 0487, "Performance Monitors registers"): encodings, and what EL0 may reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from avmm.plugin import Record, Undefined
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


class PmuRegister(Record):
    """A register and what its accesses do; None: Undefined."""

    name: str
    encoding: Encoding
    read: Read | None
    write: Write | None
    el0: bool = True
    """False where the encoding alone keeps EL0 out."""
    allowed_at_el0: Callable[[bool], bool] | None = None
    """As in `SystemRegister`."""


def pmu_registers(vcpu: Owner, pmu: Pmu) -> Iterator[PmuRegister]:
    """All registers of the PMU of one vCPU."""
    enabled = _allows(pmu, EN, EN)
    for name, op2, read, write in (
        ("PMCR_EL0", 0, pmu.read_pmcr, pmu.write_pmcr),
        ("PMCNTENSET_EL0", 1, pmu.read_enabled, pmu.enable),
        ("PMCNTENCLR_EL0", 2, pmu.read_enabled, pmu.disable),
        ("PMOVSCLR_EL0", 3, pmu.read_overflowed, pmu.clear_overflowed),
    ):
        yield PmuRegister(name, (3, 3, 9, 12, op2), read, write, allowed_at_el0=enabled)
    software = _allows(pmu, 0, SW | EN)
    yield PmuRegister("PMSWINC_EL0", (3, 3, 9, 12, 4), None, pmu.increment, allowed_at_el0=software)
    select = _allows(pmu, ER | EN, ER | EN)
    yield PmuRegister("PMSELR_EL0", (3, 3, 9, 12, 5), lambda: pmu.select, pmu.write_select, allowed_at_el0=select)
    yield PmuRegister("PMCEID0_EL0", (3, 3, 9, 12, 6), lambda: pmu.read_pmceid(0), None, allowed_at_el0=enabled)
    yield PmuRegister("PMCEID1_EL0", (3, 3, 9, 12, 7), lambda: pmu.read_pmceid(1), None, allowed_at_el0=enabled)
    cycles, counters = _allows(pmu, CR | EN, EN), _allows(pmu, ER | EN, EN)
    yield PmuRegister("PMCCNTR_EL0", (3, 3, 9, 13, 0), *_counter(pmu, lambda: CYCLE_COUNTER), allowed_at_el0=cycles)
    yield PmuRegister("PMXEVTYPER_EL0", (3, 3, 9, 13, 1), *_type(pmu, lambda: pmu.select), allowed_at_el0=enabled)
    yield PmuRegister("PMXEVCNTR_EL0", (3, 3, 9, 13, 2), *_counter(pmu, lambda: pmu.select), allowed_at_el0=counters)
    yield PmuRegister("PMUSERENR_EL0", (3, 3, 9, 14, 0), lambda: pmu.userenr, _at_el1(vcpu, pmu.write_userenr))
    yield PmuRegister("PMOVSSET_EL0", (3, 3, 9, 14, 3), pmu.read_overflowed, pmu.set_overflowed, allowed_at_el0=enabled)
    interrupts = pmu.read_interrupting
    yield PmuRegister("PMINTENSET_EL1", (3, 0, 9, 14, 1), interrupts, pmu.enable_interrupts, el0=False)
    yield PmuRegister("PMINTENCLR_EL1", (3, 0, 9, 14, 2), interrupts, pmu.disable_interrupts, el0=False)
    yield PmuRegister("PMMIR_EL1", (3, 0, 9, 14, 6), lambda: 0, None, el0=False)
    for index in range(MAX_EVENT_COUNTERS):
        place, own = (index >> 3, index & 7), _constant(index)
        counter = (3, 3, 14, 8 + place[0], place[1])
        yield PmuRegister(f"PMEVCNTR{index}_EL0", counter, *_counter(pmu, own), allowed_at_el0=counters)
        kind = (3, 3, 14, 12 + place[0], place[1])
        yield PmuRegister(f"PMEVTYPER{index}_EL0", kind, *_type(pmu, own), allowed_at_el0=enabled)
    yield PmuRegister("PMCCFILTR_EL0", (3, 3, 14, 15, 7), *_type(pmu, lambda: CYCLE_COUNTER), allowed_at_el0=enabled)


def _allows(pmu: Pmu, read: int, write: int) -> Callable[[bool], bool]:
    """An access from EL0 needs one of the bits of PMUSERENR_EL0 in `read` or in `write`."""
    return lambda is_read: bool(pmu.userenr & (read if is_read else write))


def _at_el1(vcpu: Owner, write: Write) -> Write:
    """`write`, Undefined from EL0."""

    def checked(value: int) -> None:
        if vcpu.current_el() == 0:
            raise Undefined
        write(value)

    return checked


def _counter(pmu: Pmu, index: Callable[[], int]) -> tuple[Read, Write]:
    return (
        lambda: pmu.read_counter(_existing(pmu, index())),
        lambda value: pmu.write_counter(_existing(pmu, index()), value),
    )


def _type(pmu: Pmu, index: Callable[[], int]) -> tuple[Read, Write]:
    return (
        lambda: pmu.read_type(_existing(pmu, index())),
        lambda value: pmu.write_type(_existing(pmu, index()), value),
    )


def _existing(pmu: Pmu, index: int) -> int:
    """Undefined for an event counter that is not implemented."""
    if not pmu.has_counter(index):
        raise Undefined
    return index


def _constant(index: int) -> Callable[[], int]:
    return lambda: index
