"""A GICv2 set up as a guest sets it up, and its registers by name (Arm IHI 0048B, tables 4-1 and 4-2)."""

from __future__ import annotations

from enum import IntEnum

from avmm.plugin import Width
from avmm_arm64.gic import GicV2

SPURIOUS, OTHER_GROUP, IDLE = 1023, 1022, 0xFF


class Gicd(IntEnum):
    """Registers of the distributor (table 4-1); of an array the first."""

    CTLR = 0x000
    TYPER = 0x004
    IIDR = 0x008
    IGROUPR = 0x080
    ISENABLER = 0x100
    ICENABLER = 0x180
    ISPENDR = 0x200
    ICPENDR = 0x280
    ISACTIVER = 0x300
    ICACTIVER = 0x380
    IPRIORITYR = 0x400
    ITARGETSR = 0x800
    ICFGR = 0xC00
    SGIR = 0xF00
    CPENDSGIR = 0xF10
    SPENDSGIR = 0xF20
    PIDR2 = 0xFE8


class Gicc(IntEnum):
    """Registers of a CPU interface (table 4-2); of an array the first."""

    CTLR = 0x000
    PMR = 0x004
    BPR = 0x008
    IAR = 0x00C
    EOIR = 0x010
    RPR = 0x014
    HPPIR = 0x018
    ABPR = 0x01C
    AIAR = 0x020
    AEOIR = 0x024
    AHPPIR = 0x028
    APR = 0x0D0
    NSAPR = 0x0E0
    IIDR = 0x0FC
    DIR = 0x1000


class Ctlr(IntEnum):
    """Bits of GICC_CTLR (4.4.1); the groups' are those of GICD_CTLR too."""

    GROUP0 = 1 << 0
    GROUP1 = 1 << 1
    ACK_CTL = 1 << 2
    FIQ_EN = 1 << 3
    CBPR = 1 << 4
    EOI_MODE = 1 << 9


class Bench:
    """A GICv2 with everything enabled, Group 0 at priority 0xa0; registers are accessed as a vCPU does."""

    def __init__(self, vcpus: int = 4) -> None:
        self.pins, self.fiq_pins = [False] * vcpus, [False] * vcpus
        self.gic = GicV2(vcpus, self._signal)
        self.gicd(Gicd.CTLR, Ctlr.GROUP0 | Ctlr.GROUP1)
        for cpu in range(vcpus):
            self.gicc(Gicc.PMR, 0xF8, cpu=cpu)
            self.gicc(Gicc.CTLR, Ctlr.GROUP0, cpu=cpu)
            self.gicd(Gicd.ISENABLER, 0xFFFF_FFFF, cpu=cpu)
            for offset in range(0, 32, 4):
                self.gicd(Gicd.IPRIORITYR + offset, 0xA0A0_A0A0, cpu=cpu)
        for offset in range(4, 36, 4):
            self.gicd(Gicd.ISENABLER + offset, 0xFFFF_FFFF)
        for offset in range(32, 288, 4):
            self.gicd(Gicd.IPRIORITYR + offset, 0xA0A0_A0A0)

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
        self.gicd(Gicd.SGIR, to << 24 | targets << 16 | intid, cpu=sender)
