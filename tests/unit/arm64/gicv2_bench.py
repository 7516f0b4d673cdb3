"""A GICv2 set up as a guest sets it up, and its registers by name (Arm IHI 0048B, tables 4-1 and 4-2)."""

from __future__ import annotations

from avmm.plugin import Width
from avmm_arm64.gic import GicV2

CTLR, TYPER, IIDR, IGROUPR, ISENABLER, ICENABLER = 0x000, 0x004, 0x008, 0x080, 0x100, 0x180
ISPENDR, ICPENDR, ISACTIVER, ICACTIVER, IPRIORITYR, ITARGETSR = 0x200, 0x280, 0x300, 0x380, 0x400, 0x800
ICFGR, SGIR, CPENDSGIR, SPENDSGIR, PIDR2 = 0xC00, 0xF00, 0xF10, 0xF20, 0xFE8
C_CTLR, C_PMR, C_BPR, C_IAR, C_EOIR, C_RPR, C_HPPIR = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18
C_ABPR, C_AIAR, C_AEOIR, C_AHPPIR, C_APR, C_NSAPR, C_IIDR, C_DIR = 0x1C, 0x20, 0x24, 0x28, 0xD0, 0xE0, 0xFC, 0x1000
GROUP0, GROUP1, ACK_CTL, FIQ_EN, CBPR, EOI_MODE = 1, 2, 4, 8, 16, 1 << 9
SPURIOUS, OTHER_GROUP, IDLE = 1023, 1022, 0xFF


class Bench:
    """A GICv2 with everything enabled, Group 0 at priority 0xa0; registers are accessed as a vCPU does."""

    def __init__(self, vcpus: int = 4) -> None:
        self.pins, self.fiq_pins = [False] * vcpus, [False] * vcpus
        self.gic = GicV2(vcpus, self._signal)
        self.gicd(CTLR, GROUP0 | GROUP1)
        for cpu in range(vcpus):
            self.gicc(C_PMR, 0xF8, cpu=cpu)
            self.gicc(C_CTLR, GROUP0, cpu=cpu)
            self.gicd(ISENABLER, 0xFFFF_FFFF, cpu=cpu)
            for offset in range(0, 32, 4):
                self.gicd(IPRIORITYR + offset, 0xA0A0_A0A0, cpu=cpu)
        for offset in range(4, 36, 4):
            self.gicd(ISENABLER + offset, 0xFFFF_FFFF)
        for offset in range(32, 288, 4):
            self.gicd(IPRIORITYR + offset, 0xA0A0_A0A0)

    def _signal(self, index: int, irq: bool, fiq: bool) -> None:
        self.pins[index], self.fiq_pins[index] = irq, fiq

    def gicd(self, offset: int, value: int | None = None, *, cpu: int = 0, width: Width = Width.W32) -> int:
        self.gic.accessor.index = cpu
        if value is None:
            return self.gic.distributor.read(offset, width) & (1 << 8 * width) - 1
        self.gic.distributor.write(offset, width, value)
        return 0

    def gicc(self, offset: int, value: int | None = None, *, cpu: int = 0) -> int:
        self.gic.accessor.index = cpu
        if value is None:
            return self.gic.region.read(offset, Width.W32)
        self.gic.region.write(offset, Width.W32, value)
        return 0

    def sgi(self, intid: int, *, sender: int, targets: int = 0, to: int = 0) -> None:
        self.gicd(SGIR, to << 24 | targets << 16 | intid, cpu=sender)
