"""A GICv3 put together: distributor, redistributors and CPU interfaces, and what drives its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from avmm_arm64.gic.cpu_interface import CpuInterface
from avmm_arm64.gic.distributor import Distributor
from avmm_arm64.gic.irq_state import IrqBank
from avmm_arm64.gic.redistributor import Redistributor, RedistributorRegion
from avmm_arm64.intid import FIRST_PPI, LAST_PPI, SPI_COUNT

_SGIR_IRM = 1 << 40


class Gic:
    """The interrupt controller of a VM, the `IrqChip` of its devices. Owner: the device lock.

    `affinities` gives each vCPU's Aff3.Aff2.Aff1.Aff0 in 32 bits. `signal(index, irq, fiq)` is called whenever a pin of vCPU
    `index` changes, with the levels of both, on whatever thread made it change. There are `spis` shared interrupts.
    """

    def __init__(self, affinities: Sequence[int], signal: Callable[[int, bool, bool], None], spis: int = SPI_COUNT) -> None:
        self._by_affinity = {affinity: index for index, affinity in enumerate(affinities)}
        self.distributor = Distributor(self._by_affinity, spis)
        self.redistributors = [
            Redistributor(index, affinity, last=index == len(affinities) - 1) for index, affinity in enumerate(affinities)
        ]
        self.interfaces: list[CpuInterface] = []
        for index, redistributor in enumerate(self.redistributors):
            redistributor.interface = CpuInterface(redistributor.bank, self.distributor, partial(signal, index))
            self.interfaces.append(redistributor.interface)
        self.distributor.attach(self.interfaces)
        self.region = RedistributorRegion(self.redistributors)

    def private_bank(self, index: int) -> IrqBank:
        """The SGIs and PPIs of vCPU `index`."""
        return self.redistributors[index].bank

    def reset(self) -> None:
        """Power-on state of the whole controller; the wires keep their levels."""
        for redistributor in self.redistributors:
            redistributor.reset()
        self.distributor.reset_state()
        for interface in self.interfaces:
            interface.reset()

    def set_spi_level(self, number: int, level: bool) -> None:
        """Drive shared input `number` (SPI 0 is INTID 32); those that do not exist are ignored."""
        self.distributor.set_level(number, level)

    def set_ppi_level(self, index: int, intid: int, level: bool) -> None:
        """Drive private input `intid` (16 to 31) of vCPU `index`."""
        assert FIRST_PPI <= intid <= LAST_PPI
        redistributor = self.redistributors[index]
        redistributor.bank.set_level(intid, level)
        redistributor.interface.update()

    def send_sgi(self, sender: int, value: int, *, group1: bool) -> None:
        """A write of `value` to ICC_SGI1R_EL1 (`group1`), or to ICC_SGI0R_EL1 or ICC_ASGI1R_EL1, by vCPU `sender`.

        With one Security state the first reaches SGIs of both groups, the others those of Group 0 (IHI 0069 8.1.10). There is no
        range selector (ICC_CTLR_EL1.RSS is 0): a target list is Aff0 0 to 15.
        """
        bit = 1 << (value >> 24 & 0xF)
        if value & _SGIR_IRM:
            for index, redistributor in enumerate(self.redistributors):
                if index != sender:
                    _make_pending(redistributor, bit, group1=group1)
            return
        cluster = (value >> 48 & 0xFF) << 24 | (value >> 32 & 0xFF) << 16 | (value >> 16 & 0xFF) << 8
        targets = value & 0xFFFF
        while targets:
            lowest = targets & -targets
            target = self._by_affinity.get(cluster | lowest.bit_length() - 1)
            if target is not None:
                _make_pending(self.redistributors[target], bit, group1=group1)
            targets ^= lowest


def _make_pending(redistributor: Redistributor, bit: int, *, group1: bool) -> None:
    bank = redistributor.bank
    if group1 or not bank.group1 & bit:
        bank.latch |= bit
        redistributor.interface.update()
