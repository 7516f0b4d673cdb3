"""Which device drives which input of the interrupt controller: an input has one owner, for good."""

from __future__ import annotations

from errno import EEXIST, EINVAL
from typing import Protocol

from avmm.plugin import OperationRefused
from avmm_arm64.intid import FIRST_SPI, is_ppi


class Irqchip(Protocol):
    """The interrupt controller, as device attributes see it."""

    @property
    def in_kernel(self) -> bool:
        """True when the machine has one; false when whoever runs it drives the CPUs' pins."""

    @property
    def initialized(self) -> bool:
        """True when it can be used."""

    def valid_spi(self, intid: int) -> bool:
        """True for the shared interrupts that it has."""

    def claim(self, vcpu: int, intid: int, owner: str) -> None:
        """Make `owner` the one to drive an input; OperationRefused (EINVAL, EEXIST) when that cannot be."""


class Claims:
    """The owners of a controller's inputs, for `interrupts` INTIDs in all (a multiple of 32 up to 1024)."""

    def __init__(self, interrupts: int) -> None:
        self.interrupts = interrupts
        self._owners: dict[tuple[int, int], str] = {}

    in_kernel = initialized = True

    def valid_spi(self, intid: int) -> bool:
        """True for shared interrupts that exist."""
        return FIRST_SPI <= intid < self.interrupts

    def claim(self, vcpu: int, intid: int, owner: str) -> None:
        """Give the input `intid` (of `vcpu`, when it is private) to `owner`; again to the same owner is nothing.

        OperationRefused: EINVAL for an interrupt that does not exist, EEXIST for one that is another's.
        """
        if not is_ppi(intid) and not self.valid_spi(intid):
            raise OperationRefused(EINVAL, f"the interrupt controller has no input {intid}")
        # The owner of a shared input is one device of one vCPU; that of a private one needs no more than its name.
        key, who = ((vcpu, intid), owner) if is_ppi(intid) else ((-1, intid), f"{owner}{vcpu}")
        if self._owners.setdefault(key, who) != who:
            raise OperationRefused(EEXIST, f"interrupt {intid} of vcpu {vcpu} belongs to its {self._owners[key]}")

    def owned(self, vcpu: int, intid: int) -> bool:
        """True when a device of the machine drives the input, so that nobody else may."""
        return ((vcpu, intid) if is_ppi(intid) else (-1, intid)) in self._owners
