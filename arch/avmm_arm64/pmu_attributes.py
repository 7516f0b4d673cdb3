"""The device attributes of the PMU (group PMU_V3_CTRL): its interrupt, its start, its event filter.

The checks are made in the kernel's order, with one exception that the document asks for: a second interrupt number is EBUSY
before it is anything else (docs/departures.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import IntEnum
from errno import EBUSY, EFAULT, EINVAL, ENODEV, ENXIO
from typing import assert_never

from avmm.plugin import AttributeValue, EventFilter, OperationRefused
from avmm_arm64.interrupt_claims import Irqchip
from avmm_arm64.intid import is_ppi, is_spi
from avmm_arm64.pmu_events import EventRange, EventRules
from avmm_arm64.pmu_options import PmuOptions

HOST_PMU = 8
"""The one PMU there is, by the number that SET_PMU takes."""
_EVENTS = 0x1_0000
_ALLOW, _DENY = 0, 1


class PmuAttribute(IntEnum):
    """The attributes of the group."""

    IRQ = 0
    INIT = 1
    FILTER = 2
    SET_PMU = 3
    SET_NR_COUNTERS = 4
    """How many event counters the VM's PMUs have: as many as the machine gives them, or fewer. Linux has it since 6.18."""


class PmuState:
    """How far the PMU of one vCPU is set up."""

    def __init__(self, irq: int | None = None, created: bool = False) -> None:
        self.irq = irq
        """The overflow interrupt: an INTID, private (16 to 31) or shared; None until it is set."""
        self.created = created
        """INIT was done."""


class PmuAttributes:
    """The PMUs of one VM, with `counters` event counters each (0 to 31) unless an attribute says fewer.

    `has_run()` tells whether any of its vCPUs has run. `known` are the attributes there are.
    """

    def __init__(
        self,
        irqchip: Irqchip,
        has_run: Callable[[], bool],
        counters: int = PmuOptions().counters,
        known: Collection[PmuAttribute] = tuple(PmuAttribute),
    ) -> None:
        self._irqchip, self._has_run, self._known = irqchip, has_run, known
        self._most_counters = self.counters = counters
        self.supported = False
        """The VM's vCPUs have the PMUv3 feature: all of them or none."""
        self.vcpus: list[PmuState] = []
        self.filters: list[EventFilter] = []
        """Event filters in the order they were set. The first decides what becomes of events that none names."""

    def has(self, attribute: int) -> bool:
        """KVM_HAS_DEVICE_ATTR."""
        return self.supported and attribute in self._known

    def get(self, vcpu: int, attribute: int) -> int:
        """KVM_GET_DEVICE_ATTR; only IRQ can be read."""
        state = self.vcpus[vcpu]
        if attribute != PmuAttribute.IRQ:
            raise OperationRefused(ENXIO, f"PMU attribute {attribute} cannot be read")
        if not self._irqchip.in_kernel:
            raise OperationRefused(EINVAL, "there is no interrupt controller")
        if not self.supported:
            raise _unsupported(vcpu)
        if state.irq is None:
            raise OperationRefused(ENXIO, f"vcpu {vcpu}: no PMU interrupt was set")
        return state.irq

    def set(self, vcpu: int, attribute: int, value: AttributeValue) -> None:
        """KVM_SET_DEVICE_ATTR."""
        state = self.vcpus[vcpu]
        if not self.supported:
            raise _unsupported(vcpu)
        if state.created:
            raise OperationRefused(EBUSY, f"vcpu {vcpu}: its PMU is initialised already")
        if attribute not in self._known:
            raise OperationRefused(ENXIO, f"no PMU attribute {attribute}")
        known = PmuAttribute(attribute)
        match known:
            case PmuAttribute.IRQ:
                self._set_irq(vcpu, value)
            case PmuAttribute.INIT:
                self._init(vcpu)
            case PmuAttribute.FILTER:
                self._add_filter(value)
            case PmuAttribute.SET_PMU:
                self._choose(value)
            case PmuAttribute.SET_NR_COUNTERS:
                self._set_counters(value)
            case _:
                assert_never(known)

    def _set_irq(self, vcpu: int, value: AttributeValue) -> None:
        if not self._irqchip.in_kernel:
            raise OperationRefused(EINVAL, "there is no interrupt controller")
        if not isinstance(value, int):
            raise OperationRefused(EFAULT, "the interrupt number cannot be read")
        if not is_ppi(value) and not is_spi(value):
            raise OperationRefused(EINVAL, f"{value} is neither a private interrupt (16-31) nor a shared one (32-1019)")
        if self.vcpus[vcpu].irq is not None:
            raise OperationRefused(EBUSY, f"vcpu {vcpu}: its PMU has interrupt {self.vcpus[vcpu].irq} already")
        for other, state in enumerate(self.vcpus):
            if state.irq is not None and not _compatible(value, state.irq):
                reason = f"{value} does not go with vcpu {other}'s {state.irq}: all one private, or each its own shared"
                raise OperationRefused(EINVAL, reason)
        self.vcpus[vcpu].irq = value

    def _init(self, vcpu: int) -> None:
        state = self.vcpus[vcpu]
        if self._irqchip.in_kernel:
            if not self._irqchip.initialized:
                raise OperationRefused(ENODEV, "the interrupt controller is not initialised")
            if state.irq is None:
                raise OperationRefused(ENXIO, f"vcpu {vcpu}: no PMU interrupt was set")
            self._irqchip.claim(vcpu, state.irq, "pmu")
        state.created = True

    def _add_filter(self, value: AttributeValue) -> None:
        if not isinstance(value, EventFilter):
            raise OperationRefused(EFAULT, "the event filter cannot be read")
        if value.first + value.count > _EVENTS or value.action not in (_ALLOW, _DENY):
            raise OperationRefused(EINVAL, f"{value} is beyond event {_EVENTS - 1:#x}, or neither allows nor denies")
        if self._has_run():
            raise OperationRefused(EBUSY, "a vCPU has run")
        self.filters.append(value)

    def _choose(self, value: AttributeValue) -> None:
        if not isinstance(value, int):
            raise OperationRefused(EFAULT, "the PMU's number cannot be read")
        if value != HOST_PMU:
            raise OperationRefused(ENXIO, f"there is no PMU {value}, only {HOST_PMU}")
        if self._has_run():
            raise OperationRefused(EBUSY, "a vCPU has run")
        self.counters = self._most_counters

    def _set_counters(self, value: AttributeValue) -> None:
        if not isinstance(value, int):
            raise OperationRefused(EFAULT, "the number of counters cannot be read")
        if not 0 <= value <= self._most_counters:
            raise OperationRefused(EINVAL, f"{value} event counters: the PMU has {self._most_counters}")
        self.counters = value

    def rules(self) -> EventRules:
        """Which events may be counted, by the filters that were set."""
        return EventRules(EventRange(part.first, part.count, part.action == _ALLOW) for part in self.filters)

    def check(self, vcpu: int) -> None:
        """Before the first run of a vCPU: OperationRefused (EINVAL) unless its PMU, if it has one, is set up to run."""
        state, irqchip = self.vcpus[vcpu], self._irqchip
        if not self.supported:
            return
        if not state.created:
            raise OperationRefused(EINVAL, f"vcpu {vcpu}: its PMU is not initialised")
        if not irqchip.in_kernel:
            return
        if state.irq is None or not (is_ppi(state.irq) or irqchip.valid_spi(state.irq)):
            raise OperationRefused(EINVAL, f"vcpu {vcpu}: its PMU has no interrupt of this controller")


def _compatible(new: int, other: int) -> bool:
    """True when two vCPUs may have these overflow interrupts: the same private one, or two shared ones."""
    return new == other if is_ppi(new) else is_spi(other) and new != other


def _unsupported(vcpu: int) -> OperationRefused:
    return OperationRefused(ENODEV, f"vcpu {vcpu} has no PMUv3")
