"""A GICv3 set up as a guest sets it up, with the writes that tests need most."""

from __future__ import annotations

from collections.abc import Sequence

from avmm.plugin import Width
from avmm_arm64.gic import CpuInterface, Gic

GROUP1_ALL = 0xFFFF_FFFF
SGI_BASE = 0x10000
FRAME = 0x20000
IGROUPR, ISENABLER, ICENABLER, ISPENDR, ICPENDR, ISACTIVER, ICACTIVER = (0x80 * n for n in range(1, 8))
IPRIORITYR, ICFGR, IROUTER = 0x400, 0xC00, 0x6000


class GicBench:
    """A GIC whose pins are recorded; `ready` enables both groups everywhere, with no priority masked."""

    def __init__(self, affinities: Sequence[int] = (0, 1), *, ready: bool = True) -> None:
        self.pins: dict[int, tuple[bool, bool]] = {}
        self.changes: list[tuple[int, bool]] = []
        self.gic = Gic(affinities, self._signal)
        if ready:
            self.gicd(0, 0b11)
            for index in range(len(affinities)):
                self.gicr(index, IGROUPR, GROUP1_ALL)
                self.cpu(index).write_pmr(0xFF)
                self.cpu(index).write_igrpen0(1)
                self.cpu(index).write_igrpen1(1)
            for word in range(1, 9):
                self.gicd(IGROUPR + 4 * word, GROUP1_ALL)

    def _signal(self, index: int, irq: bool, fiq: bool) -> None:
        before = self.pins.get(index, (False, False))
        assert before != (irq, fiq), "only changes are signalled"
        self.pins[index] = irq, fiq
        if irq != before[0]:
            self.changes.append((index, irq))

    def cpu(self, index: int = 0) -> CpuInterface:
        return self.gic.interfaces[index]

    def irq(self, index: int = 0) -> bool:
        assert self.pins.get(index, (False, False)) == (self.cpu(index).irq, self.cpu(index).fiq)
        return self.cpu(index).irq

    def gicd(self, offset: int, value: int, width: Width = Width.W32) -> None:
        self.gic.distributor.write(offset, width, value)

    def read_gicd(self, offset: int, width: Width = Width.W32) -> int:
        return self.gic.distributor.read(offset, width) & (1 << 8 * width) - 1

    def gicr(self, index: int, offset: int, value: int, width: Width = Width.W32) -> None:
        """Write to the SGI_base frame of vCPU `index`."""
        self.gic.region.write(index * FRAME + SGI_BASE + offset, width, value)

    def read_gicr(self, index: int, offset: int, width: Width = Width.W32) -> int:
        return self.gic.region.read(index * FRAME + SGI_BASE + offset, width) & (1 << 8 * width) - 1

    def enable_spi(self, intid: int, *, priority: int = 0xA0, edge: bool = False, target: int = 0) -> None:
        """Enable a shared interrupt for the vCPU of affinity `target`."""
        self.gicd(IPRIORITYR + intid, priority, Width.W8)
        if edge:
            offset = ICFGR + intid // 16 * 4
            self.gicd(offset, self.read_gicd(offset) | 2 << intid % 16 * 2)
        self.gicd(IROUTER + 8 * intid, target, Width.W64)
        self.gicd(ISENABLER + intid // 32 * 4, 1 << intid % 32)

    def enable_private(self, index: int, intid: int, *, priority: int = 0xA0) -> None:
        """Enable an SGI or PPI of vCPU `index`."""
        self.gicr(index, IPRIORITYR + intid, priority, Width.W8)
        self.gicr(index, ISENABLER, 1 << intid)

    def spi(self, intid: int, level: bool) -> None:
        """Drive the wire of a shared interrupt."""
        self.gic.set_spi_level(intid - 32, level)
