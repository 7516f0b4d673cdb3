"""A GICv2 put together (Arm IHI 0048B): one distributor and up to eight CPU interfaces, all registers banked by vCPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from avmm.plugin import Device, DeviceLock, Hypercall, Traps, Width
from avmm_arm64.gic.access import read_words, write_words
from avmm_arm64.gic.cpu_interface_v2 import CpuInterfaceV2
from avmm_arm64.gic.distributor_v2 import Accessor, DistributorV2
from avmm_arm64.gic.irq_state import IrqBank
from avmm_arm64.intid import FIRST_PPI, LAST_PPI, PRIVATE_COUNT, SGI_MASK

MAX_VCPUS = 8
"""As many as there are bits in a target list."""


class GicV2:
    """The interrupt controller of a VM, the `IrqChip` of its devices. Owner: the device lock.

    `signal(index, irq, fiq)` is called whenever a pin of vCPU `index` changes, with the levels of both, on whatever thread made
    it change.
    """

    def __init__(self, vcpus: int, signal: Callable[[int, bool, bool], None]) -> None:
        assert 1 <= vcpus <= MAX_VCPUS
        self.accessor = Accessor()
        self._banks = [IrqBank(0, PRIVATE_COUNT, always_edge=SGI_MASK) for _ in range(vcpus)]
        self.distributor = DistributorV2(self._banks, self.accessor)
        self.interfaces = [
            CpuInterfaceV2(bank, self.distributor, partial(signal, index)) for index, bank in enumerate(self._banks)
        ]
        self.distributor.attach(self.interfaces)
        self.region = CpuInterfaceRegion(self.interfaces, self.accessor)

    def private_bank(self, index: int) -> IrqBank:
        """The SGIs and PPIs of vCPU `index`."""
        return self._banks[index]

    def reset(self) -> None:
        """Power-on state of the whole controller; the wires keep their levels."""
        self.distributor.reset_state()
        for interface in self.interfaces:
            interface.reset()

    def set_spi_level(self, number: int, level: bool) -> None:
        """Drive shared input `number` (SPI 0 is INTID 32); numbers from 256 on do not exist and are ignored."""
        self.distributor.set_level(number, level)

    def set_ppi_level(self, index: int, intid: int, level: bool) -> None:
        """Drive private input `intid` (16 to 31) of vCPU `index`."""
        assert FIRST_PPI <= intid <= LAST_PPI
        self._banks[index].set_level(intid, level)
        self.interfaces[index].update()


class CpuInterfaceRegion(Device):
    """GICC, at one address for all vCPUs: each sees its own."""

    size = 0x2000

    def __init__(self, interfaces: Sequence[CpuInterfaceV2], accessor: Accessor) -> None:
        self._interfaces, self._accessor = interfaces, accessor

    def read(self, offset: int, width: Width) -> int:
        return read_words(self._interfaces[self._accessor.index].read_register, offset, width)

    def write(self, offset: int, width: Width, value: int) -> None:
        write_words(self._interfaces[self._accessor.index].write_register, offset, width, value)


class BankedTraps:
    """The traps of vCPU `index`, with the GIC told whose access it is before it gets it."""

    def __init__(self, traps: Traps, index: int, accessor: Accessor, lock: DeviceLock) -> None:
        self._traps, self._index, self._accessor, self._lock = traps, index, accessor, lock
        self._read, self._write = traps.mmio_read, traps.mmio_write

    def mmio_read(self, address: int, width: int) -> int:
        """See `Traps`."""
        with self._lock:
            self._accessor.index = self._index
            return self._read(address, width)

    def mmio_write(self, address: int, width: int, value: int) -> None:
        """See `Traps`."""
        with self._lock:
            self._accessor.index = self._index
            self._write(address, width, value)

    def hypercall(self, call: Hypercall) -> None:
        """See `Traps`."""
        self._traps.hypercall(call)

    def tlb_flush_all(self) -> None:
        """See `Traps`."""
        self._traps.tlb_flush_all()

    def count_tlb_flushes(self, made: int, handled: int, ipis: int) -> None:
        """See `Traps`."""
        self._traps.count_tlb_flushes(made, handled, ipis)
