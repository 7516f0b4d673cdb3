"""The GICv2 CPU interface (Arm IHI 0048B 4.4): the GICC registers, without Security Extensions, five priority bits."""

from __future__ import annotations

from collections.abc import Callable

from avmm_arm64.gic.cpu_interface import SPURIOUS, CpuInterface, SharedInterrupts
from avmm_arm64.gic.irq_state import IrqBank
from avmm_arm64.intid import FIRST_SPI, SGI_COUNT

OTHER_GROUP = 1022
"""What GICC_IAR and GICC_HPPIR read when the interrupt is one of Group 1 and GICC_CTLR.AckCtl is 0."""

_ACK_CTL, _FIQ_EN = 1 << 2, 1 << 3
_CBPR_BIT, _EOI_MODE_BIT = 4, 9
_CTLR_MASK = 0b11 | _ACK_CTL | _FIQ_EN | 1 << _CBPR_BIT | 1 << _EOI_MODE_BIT
_INTID_MASK = 0x3FF
_SOURCE_SHIFT = 10
_IIDR = 0x0002_043B
"""Architecture version 2, implementer 0x43b (Arm)."""


class CpuInterfaceV2(CpuInterface):
    """The state of a GICv3 CPU interface behind the registers of a GICv2. Owner: the device lock.

    An SGI is pending once for each vCPU that sent it, and is acknowledged once for each. Group 0 is signalled as IRQ unless
    GICC_CTLR.FIQEn says FIQ.
    """

    __slots__ = ("_gicc_ctlr", "sources")

    def __init__(self, private: IrqBank, shared: SharedInterrupts, signal: Callable[[bool, bool], None]) -> None:
        self._gicc_ctlr = 0
        self.sources = [0] * SGI_COUNT
        """For each SGI, which vCPUs' are pending here, as a bitmap."""
        super().__init__(private, shared, signal)
        self._group0_is_fiq = False

    def reset(self) -> None:
        self._gicc_ctlr = 0
        self._group0_is_fiq = False
        super().reset()

    def add_sgi(self, intid: int, source: int) -> None:
        """vCPU `source` sends SGI `intid` here."""
        self.sources[intid] |= 1 << source
        self._private.latch |= 1 << intid
        self.update()

    def drop_sgi(self, intid: int, sources: int) -> None:
        """Make SGI `intid` not pending for the vCPUs in the bitmap `sources`."""
        self.sources[intid] &= ~sources
        if not self.sources[intid]:
            self._private.latch &= ~(1 << intid)
        self.update()

    def read_register(self, offset: int) -> int:
        """The 32-bit register at word-aligned `offset`; 0 where there is none."""
        match offset:
            case 0x00:
                return self._gicc_ctlr
            case 0x04:
                return self.read_pmr()
            case 0x08:
                return self.read_bpr0()
            case 0x0C:
                return self._read_iar()
            case 0x14:
                return self.read_rpr()
            case 0x18:
                return OTHER_GROUP if self._hppi_group1 and self._refuses_group1() else self._highest()
            case 0x1C:
                return self.read_bpr1()
            case 0x20:
                return self._take() if self._signalled() and self._hppi_group1 else SPURIOUS
            case 0x28:
                return self._highest() if self._hppi_group1 else SPURIOUS
            case 0xD0:
                return self.read_apr(0)
            case 0xE0:
                return self.read_apr(1)
            case 0xFC:
                return _IIDR
            case _:
                return 0

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at word-aligned `offset`; ignored where there is none or it is read-only."""
        match offset:
            case 0x00:
                self._write_gicc_ctlr(value & _CTLR_MASK)
            case 0x04:
                self.write_pmr(value)
            case 0x08:
                self.write_bpr0(value)
            case 0x10:
                self._end_of_interrupt(self._ended_group(), value & _INTID_MASK)
            case 0x1C:
                self.write_bpr1(value)
            case 0x24:
                self._end_of_interrupt(1, value & _INTID_MASK)
            case 0xD0:
                self.write_apr(0, value)
            case 0xE0:
                self.write_apr(1, value)
            case 0x1000:
                self.write_dir(value & _INTID_MASK)
            case _:
                pass

    def _write_gicc_ctlr(self, value: int) -> None:
        self._gicc_ctlr = value
        self._igrpen = value & 0b11
        self._group0_is_fiq = bool(value & _FIQ_EN)
        self.write_ctlr(value >> _CBPR_BIT & 1 | (value >> _EOI_MODE_BIT & 1) << 1)

    def _refuses_group1(self) -> bool:
        return not self._gicc_ctlr & _ACK_CTL

    def _signalled(self) -> bool:
        return self.irq or self.fiq

    def _read_iar(self) -> int:
        """GICC_IAR (4.4.4)."""
        if not self._signalled():
            return SPURIOUS
        if self._hppi_group1 and self._refuses_group1():
            return OTHER_GROUP
        return self._take()

    def _take(self) -> int:
        return self._acknowledge(int(self._hppi_group1))

    def _highest(self) -> int:
        return self._with_source(self._hppi)

    def _with_source(self, intid: int) -> int:
        if intid >= SGI_COUNT:
            return intid
        sources = self.sources[intid]
        return intid | (sources & -sources).bit_length() - 1 << _SOURCE_SHIFT if sources else intid

    def _acknowledge(self, group: int) -> int:
        """The INTID, with the sender of an SGI in bits 12:10 (GICC_IAR.CPUID)."""
        value = self._with_source(self._hppi)
        intid = super()._acknowledge(group)
        if intid < SGI_COUNT:
            self.sources[intid] &= self.sources[intid] - 1
            if self.sources[intid]:
                self._private.latch |= 1 << intid  # active and pending: signalled again once it is deactivated
        elif intid >= FIRST_SPI:
            self._gicd.update_target(intid - FIRST_SPI)  # nobody else may take it too (1-N model, 1.4.3)
        return value

    def _deactivate(self, intid: int) -> None:
        super()._deactivate(intid)
        if FIRST_SPI <= intid < FIRST_SPI + self._gicd.spis.count:
            self._gicd.update_target(intid - FIRST_SPI)

    def _ended_group(self) -> int:
        """The group whose interrupt a write to GICC_EOIR ends: Group 0, but with AckCtl the one that runs."""
        group0, group1 = self._active_groups
        if self._refuses_group1() or not group1:
            return 0
        return int(not group0 or (group1 & -group1) < (group0 & -group0))
