"""Interrupt controllers made step by step, as KVM's interface makes them: a GICv3, or none and pins instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from errno import EBUSY, EINVAL

from avmm.plugin import Bus, NotApplicable, OperationRefused
from avmm_arm64 import kvm_gic_registers
from avmm_arm64.gic import CpuInterface, Gic
from avmm_arm64.interrupt_claims import Claims
from avmm_arm64.intid import FIRST_SPI, is_ppi
from avmm_arm64.kvm_gic_places import GicPlaces
from avmm_arm64.kvm_gic_queue import QueueingGic
from avmm_arm64.layout import affinity

_DEFAULT_INTERRUPTS, _MIN_INTERRUPTS, _MAX_INTERRUPTS = 256, 64, 1023


class KvmGic:
    """A GICv3 from its creation to its first use. The checks and their order are the kernel's."""

    def __init__(self) -> None:
        self._places = GicPlaces()
        self._interrupts = 0
        self._mapped = False
        self.gic: QueueingGic | None = None
        """The controller itself, once it is initialised."""
        self._claims: Claims | None = None

    def set_address(self, which: str, address: int, vcpus: int) -> None:
        """Place the distributor (`dist`) or the redistributors (`redist`) in guest physical address space."""
        self._places.set(which, address, vcpus)

    def check_vcpus(self, vcpus: int) -> None:
        """OperationRefused (EINVAL) when the redistributors of so many vCPUs do not fit where they are."""
        self._places.check_vcpus(vcpus)

    @property
    def interrupts(self) -> int:
        """How many INTIDs there are; 32, the private ones alone, until that is decided."""
        return self._interrupts or FIRST_SPI

    def set_interrupts(self, count: int) -> None:
        """Decide how many INTIDs there are: a multiple of 32 from 64 to 992, once."""
        if not _MIN_INTERRUPTS <= count <= _MAX_INTERRUPTS or count % 32:
            raise OperationRefused(EINVAL, f"{count} is not a multiple of 32 from {_MIN_INTERRUPTS} to {_MAX_INTERRUPTS & -32}")
        if self._interrupts:
            raise OperationRefused(EBUSY, f"there are {self._interrupts} interrupts already")
        self._interrupts = count

    def initialize(self, ids: Sequence[int], signal: Callable[[int, bool, bool], None]) -> None:
        """Make the controller for the vCPUs with these ids; again is nothing. `signal` as for `Gic`."""
        if self.gic is not None:
            return
        self._interrupts = self._interrupts or _DEFAULT_INTERRUPTS
        self._claims = Claims(self._interrupts)
        # With no vCPU there will never be one: nobody sees what it has instead.
        affinities = [affinity(number) for number in ids or (0,)]
        self.gic = QueueingGic(affinities, signal, self._interrupts - FIRST_SPI)
        kvm_gic_registers.begin(self.gic)

    def map(self, bus: Bus, vcpus: int) -> None:
        """Before the first run of one of `vcpus`: put the registers on the bus; OperationRefused when that cannot be."""
        if self._mapped:
            return
        distributor, redistributors = self._places.check_complete(vcpus)
        if self.gic is None:
            raise OperationRefused(EBUSY, "the GIC is not initialised")
        bus.add(distributor, self.gic.distributor_device, "gicd")
        bus.add(redistributors, self.gic.redistributors_device, "gicr")
        self._mapped = True

    def inject(self, vcpu: int, intid: int, level: bool) -> None:
        """Drive an input from outside. One that a device of the machine owns is not touched (vgic_validate_injection)."""
        if self.gic is None or self._claims is None:
            raise OperationRefused(EBUSY, "the GIC is not initialised")
        if not is_ppi(intid) and not self._claims.valid_spi(intid):
            raise OperationRefused(EINVAL, f"the GIC has no input {intid}")
        if self._claims.owned(vcpu, intid):
            return
        if is_ppi(intid):
            self.gic.set_ppi_level(vcpu, intid, level)
            return
        number = intid - FIRST_SPI
        if level:
            self.gic.set_spi_level(number, level=False)  # where an edge counts, each call is one; a level stays as it is
        self.gic.set_spi_level(number, level)

    # interrupt_claims.Irqchip

    in_kernel = True

    @property
    def initialized(self) -> bool:
        """True once `initialize` was called."""
        return self.gic is not None

    def valid_spi(self, intid: int) -> bool:
        """True for the shared interrupts that there are."""
        return FIRST_SPI <= intid < self.interrupts

    def claim(self, vcpu: int, intid: int, owner: str) -> None:
        """As `Claims.claim`."""
        if self._claims is None:
            raise OperationRefused(EBUSY, "the GIC is not initialised")
        self._claims.claim(vcpu, intid, owner)


class CpuPins(CpuInterface):
    """The IRQ and FIQ pins of a CPU without interrupt controller: whoever runs it drives them."""

    def update(self) -> None:
        """There is nothing behind the pins."""

    def reset(self) -> None:
        """The pins are the user's, not the CPU's."""

    def drive(self, irq: bool, fiq: bool) -> None:
        """Set both pins."""
        self.irq, self.fiq = irq, fiq


class PinsOnly(Gic):
    """What stands for the controller on a machine that has none; the guest sees none of its registers."""

    def __init__(self, index: int) -> None:
        super().__init__([affinity(number) for number in range(index + 1)], lambda number, irq, fiq: None)
        self.pins = CpuPins(self.redistributors[index].bank, self.distributor, lambda irq, fiq: None)
        self.interfaces[index] = self.pins


def irq_type(kind: int | str) -> str:
    """`cpu`, `spi` or `ppi`, or its number; OperationRefused (EINVAL) for any other number, NotApplicable for another name."""
    if isinstance(kind, str):
        if kind not in _TYPES:
            raise NotApplicable(f"irq_line: {kind!r} names no type")
        return kind
    if not 0 <= kind < len(_TYPES):
        raise OperationRefused(EINVAL, f"there is no interrupt type {kind}")
    return _TYPES[kind]


_TYPES = ("cpu", "spi", "ppi")
"""By their numbers, KVM_ARM_IRQ_TYPE_*."""
