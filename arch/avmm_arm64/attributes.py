"""The device attributes of a vCPU: timers (TIMER_CTRL), PMU (PMU_V3_CTRL) and stolen time (PVTIME_CTRL)."""

from __future__ import annotations

from enum import IntEnum
from errno import EBUSY, EEXIST, EFAULT, EINVAL, ENXIO

from avmm.plugin import AttributeGroup, AttributeValue, GuestMemory, OperationRefused, no_such_attribute
from avmm_arm64.interrupt_claims import Irqchip
from avmm_arm64.intid import is_ppi
from avmm_arm64.pmu_attributes import PmuAttribute, PmuAttributes
from avmm_arm64.timer import TimerPpis

_INVALID_ADDRESS = (1 << 64) - 1
_STOLEN_TIME_ALIGNMENT = 64


class Group(IntEnum):
    """The groups of attributes of an arm64 vCPU."""

    PMU_V3_CTRL = 0
    TIMER_CTRL = 1
    PVTIME_CTRL = 2


class TimerAttribute(IntEnum):
    """The attributes of TIMER_CTRL: the private interrupt (INTID 16 to 31) of each timer."""

    TIMER_IRQ_VTIMER = 0
    TIMER_IRQ_PTIMER = 1
    TIMER_IRQ_HVTIMER = 2
    """Of the EL2 virtual timer. It can be set and read; there is no EL2."""
    TIMER_IRQ_HPTIMER = 3


IPA = 0
"""The one attribute of PVTIME_CTRL: where the guest finds its stolen time."""

GROUPS = {
    Group.PMU_V3_CTRL.name: AttributeGroup(Group.PMU_V3_CTRL, {one.name: one.value for one in PmuAttribute}),
    Group.TIMER_CTRL.name: AttributeGroup(Group.TIMER_CTRL, {one.name: one.value for one in TimerAttribute}),
    Group.PVTIME_CTRL.name: AttributeGroup(Group.PVTIME_CTRL, {"IPA": IPA}),
}
_FIELDS = {TimerAttribute.TIMER_IRQ_VTIMER: "virtual", TimerAttribute.TIMER_IRQ_PTIMER: "physical"}


class TimerAttributes:
    """The timers' private interrupts in one VM.

    Setting one sets it for the VM, and gives the VM's numbers to every vCPU that exists then (the kernel's document). A vCPU
    made later has the defaults, until something is set again.
    """

    def __init__(self, irqchip: Irqchip, defaults: TimerPpis) -> None:
        self._irqchip = irqchip
        self._vm = {
            TimerAttribute.TIMER_IRQ_VTIMER: defaults.virtual,
            TimerAttribute.TIMER_IRQ_PTIMER: defaults.physical,
            TimerAttribute.TIMER_IRQ_HVTIMER: 28,
            TimerAttribute.TIMER_IRQ_HPTIMER: 26,
        }
        self.vcpus: list[TimerPpis] = []
        self.immutable = False
        """A vCPU has begun to run with them."""

    def has(self, attribute: int) -> bool:
        """KVM_HAS_DEVICE_ATTR."""
        return attribute in self._vm

    def get(self, vcpu: int, attribute: int) -> int:
        """KVM_GET_DEVICE_ATTR: as this vCPU has it."""
        if not self.has(attribute):
            raise no_such_attribute(Group.TIMER_CTRL, attribute)
        known = TimerAttribute(attribute)
        return int(getattr(self.vcpus[vcpu], _FIELDS[known])) if known in _FIELDS else self._vm[known]

    def set(self, attribute: int, value: AttributeValue) -> None:
        """KVM_SET_DEVICE_ATTR, in the kernel's order of errors."""
        if not self._irqchip.in_kernel:
            raise OperationRefused(EINVAL, "there is no interrupt controller")
        if not isinstance(value, int):
            raise OperationRefused(EFAULT, "the interrupt number cannot be read")
        if not is_ppi(value):
            raise OperationRefused(EINVAL, f"{value} is not a private interrupt: 16 to 31")
        if self.immutable:
            raise OperationRefused(EBUSY, "a vCPU has run")
        if not self.has(attribute):
            raise no_such_attribute(Group.TIMER_CTRL, attribute)
        self._vm[TimerAttribute(attribute)] = value
        for ppis in self.vcpus:
            ppis.virtual = self._vm[TimerAttribute.TIMER_IRQ_VTIMER]
            ppis.physical = self._vm[TimerAttribute.TIMER_IRQ_PTIMER]

    def check(self, vcpu: int) -> None:
        """Before a vCPU first runs: claim its timers' interrupts, for good; OperationRefused (EINVAL) when one is taken.

        The physical timer comes first, so of two timers with one number it is the one that keeps it.
        """
        if not self._irqchip.in_kernel:
            return
        for name in ("physical", "virtual"):
            intid = int(getattr(self.vcpus[vcpu], name))
            try:
                self._irqchip.claim(vcpu, intid, f"{name} timer")
            except OperationRefused as taken:
                reason = f"vcpu {vcpu}: the {name} timer cannot have its interrupt: {taken.reason}"
                raise OperationRefused(EINVAL, reason) from taken
        self.immutable = True


class StolenTimes:
    """Where each vCPU's stolen-time structure is (Arm DEN 0057 section 3.2)."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self.vcpus: list[int | None] = []

    def get(self, vcpu: int, attribute: int) -> int:
        """The guest physical address, 2**64 - 1 when there is none."""
        if attribute != IPA:
            raise no_such_attribute(Group.PVTIME_CTRL, attribute)
        address = self.vcpus[vcpu]
        return _INVALID_ADDRESS if address is None else address

    def set(self, vcpu: int, attribute: int, value: AttributeValue) -> None:
        """Choose the address: once, in guest memory, a multiple of 64."""
        if attribute != IPA:
            raise no_such_attribute(Group.PVTIME_CTRL, attribute)
        if not isinstance(value, int):
            raise OperationRefused(EFAULT, "the address cannot be read")
        if value % _STOLEN_TIME_ALIGNMENT:
            raise OperationRefused(EINVAL, f"{value:#x} is not a multiple of {_STOLEN_TIME_ALIGNMENT}")
        if self.vcpus[vcpu] is not None:
            raise OperationRefused(EEXIST, f"vcpu {vcpu} has one at {self.vcpus[vcpu]:#x} already")
        if self._memory.find(value, _STOLEN_TIME_ALIGNMENT) is None:
            raise OperationRefused(EINVAL, f"there is no guest memory at {value:#x}")
        self.vcpus[vcpu] = value


class VcpuAttributes:
    """All device attributes of the vCPUs of one VM, found by group. `stolen_times` None: the machine has no such group."""

    def __init__(self, timers: TimerAttributes, pmu: PmuAttributes, stolen_times: StolenTimes | None = None) -> None:
        self.timers, self.pmu, self.stolen_times = timers, pmu, stolen_times

    def has_attr(self, vcpu: int, group: int, attribute: int) -> bool:
        """KVM_HAS_DEVICE_ATTR."""
        match group:
            case Group.PMU_V3_CTRL:
                return self.pmu.has(attribute)
            case Group.TIMER_CTRL:
                return self.timers.has(attribute)
            case Group.PVTIME_CTRL:
                return self.stolen_times is not None and attribute == IPA
            case _:
                return False

    def get_attr(self, vcpu: int, group: int, attribute: int) -> int:
        """KVM_GET_DEVICE_ATTR."""
        match group:
            case Group.PMU_V3_CTRL:
                return self.pmu.get(vcpu, attribute)
            case Group.TIMER_CTRL:
                return self.timers.get(vcpu, attribute)
            case Group.PVTIME_CTRL if self.stolen_times is not None:
                return self.stolen_times.get(vcpu, attribute)
            case _:
                raise _no_such_group(group)

    def set_attr(self, vcpu: int, group: int, attribute: int, value: AttributeValue) -> None:
        """KVM_SET_DEVICE_ATTR."""
        match group:
            case Group.PMU_V3_CTRL:
                self.pmu.set(vcpu, attribute, value)
            case Group.TIMER_CTRL:
                self.timers.set(attribute, value)
            case Group.PVTIME_CTRL if self.stolen_times is not None:
                self.stolen_times.set(vcpu, attribute, value)
            case _:
                raise _no_such_group(group)


def _no_such_group(group: int) -> OperationRefused:
    return OperationRefused(ENXIO, f"no attribute group {group}")
