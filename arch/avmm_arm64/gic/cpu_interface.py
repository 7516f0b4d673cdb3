"""The CPU interface of one vCPU (IHI 0069 4.8, 12.2): the ICC_*_EL1 registers, one Security state, five priority bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from avmm_arm64.gic.irq_state import PRIORITY_MASK, IrqBank

SPURIOUS = 1023
"""What IAR and HPPIR read when there is nothing to acknowledge."""
IDLE_PRIORITY = 0xFF
SRE = 0b111
"""ICC_SRE_EL1: system registers only (SRE), no bypass of IRQ and FIQ (DIB, DFB); reads as one, ignores writes."""

_FIRST_SPECIAL = 1020
_INTID_MASK = 0xFF_FFFF
_MIN_BPR0, _MIN_BPR1 = 2, 3
_CTLR_CBPR, _CTLR_EOIMODE = 1 << 0, 1 << 1
_CTLR_FIXED = 4 << 8
"""PRIbits = 4 (five bits); IDbits = 0 (16-bit INTIDs); no SEIS, A3V, RSS."""


class SharedInterrupts(Protocol):
    """The distributor, as a CPU interface needs it."""

    spis: IrqBank
    groups: int
    """GICD_CTLR.EnableGrp0 (bit 0) and EnableGrp1 (bit 1)."""

    def update_target(self, index: int) -> None:
        """The state of SPI `index` changed: let the CPU interface it is routed to look again."""


class CpuInterface:
    """Chooses the highest-priority pending interrupt of one vCPU and drives its IRQ and FIQ pins. Owner: the device lock.

    `signal(irq, fiq)` is called with the levels of both pins whenever one changes. A Group 0 interrupt is signalled as an FIQ.
    """

    __slots__ = (
        "_active_groups",
        "_bpr0",
        "_bpr1",
        "_ctlr",
        "_gicd",
        "_group0_is_fiq",
        "_hppi",
        "_hppi_group1",
        "_hppi_priority",
        "_igrpen",
        "_pmr",
        "_preempts",
        "_private",
        "_running",
        "_signal",
        "acknowledged",
        "fiq",
        "irq",
        "routed",
    )

    def __init__(self, private: IrqBank, shared: SharedInterrupts, signal: Callable[[bool, bool], None]) -> None:
        self._private, self._gicd, self._signal = private, shared, signal
        self.routed = 0
        """Bitmap of the SPIs whose target is this vCPU."""
        self.irq = self.fiq = False
        self._group0_is_fiq = True
        self.acknowledged = [0, 0, 0]
        """Interrupts the guest acknowledged: SGIs, PPIs, SPIs."""
        self._running = IDLE_PRIORITY
        # By group: the bits of a priority that decide preemption.
        self._preempts = (PRIORITY_MASK, PRIORITY_MASK)
        self._clear()

    def _clear(self) -> None:
        self._pmr, self._bpr0, self._bpr1, self._ctlr, self._igrpen = 0, _MIN_BPR0, _MIN_BPR1, 0, 0
        # AP0R0 and AP1R0: bit n set while an interrupt of group priority n * 8 is active and not yet dropped.
        self._active_groups = [0, 0]
        self._hppi, self._hppi_priority, self._hppi_group1 = SPURIOUS, IDLE_PRIORITY, False
        self._set_running()
        self._set_preempts()

    def reset(self) -> None:
        """The state after a reset of the PE. Pending interrupts stay in the redistributor."""
        self._clear()
        self.update()

    def update(self) -> None:
        """Find the highest-priority pending interrupt and drive the pins (IHI 0069 4.8.3). The hottest function of the GIC."""
        gicd = self._gicd
        groups = gicd.groups & self._igrpen
        best, best_priority = SPURIOUS, 0x100
        if groups:
            bank, routed = self._private, -1
            while True:
                pending = (bank.latch | bank.level & ~bank.edge) & bank.enabled & ~bank.active & routed
                if groups != 0b11:
                    pending &= bank.group1 if groups == 0b10 else ~bank.group1
                while pending:
                    bit = pending & -pending
                    index = bit.bit_length() - 1
                    if bank.priority[index] < best_priority:
                        best, best_priority = bank.first + index, bank.priority[index]
                    pending ^= bit
                if bank is gicd.spis or not self.routed:
                    break
                bank, routed = gicd.spis, self.routed
        irq = fiq = False
        if best != SPURIOUS:
            bank = self._private if best < 32 else gicd.spis
            group1 = bool(bank.group1 >> best - bank.first & 1)
            self._hppi_group1 = group1
            if best_priority < self._pmr and best_priority & self._preempts[group1] < self._running:
                fiq = self._group0_is_fiq and not group1
                irq = not fiq
        self._hppi, self._hppi_priority = best, best_priority
        if irq != self.irq or fiq != self.fiq:
            self.irq, self.fiq = irq, fiq
            self._signal(irq, fiq)

    # Acknowledge, priority drop, deactivate

    def read_iar0(self) -> int:
        """ICC_IAR0_EL1: acknowledge the Group 0 interrupt that is signalled, or 1023."""
        return self._acknowledge(0) if self.fiq else SPURIOUS

    def read_iar1(self) -> int:
        """ICC_IAR1_EL1: acknowledge the Group 1 interrupt that is signalled, or 1023."""
        return self._acknowledge(1) if self.irq else SPURIOUS

    def _acknowledge(self, group: int) -> int:
        intid, priority = self._hppi, self._hppi_priority & self._preempts[group]
        bank = self._private if intid < 32 else self._gicd.spis
        bit = 1 << intid - bank.first
        bank.active |= bit
        bank.latch &= ~bit
        self.acknowledged[min(intid >> 4, 2)] += 1
        self._active_groups[group] |= 1 << (priority >> 3)
        self._running = priority
        self.update()
        return intid

    def write_eoir0(self, value: int) -> None:
        """ICC_EOIR0_EL1."""
        self._end_of_interrupt(0, value & _INTID_MASK)

    def write_eoir1(self, value: int) -> None:
        """ICC_EOIR1_EL1: drop the running priority and, with EOImode 0, deactivate."""
        self._end_of_interrupt(1, value & _INTID_MASK)

    def _end_of_interrupt(self, group: int, intid: int) -> None:
        active = self._active_groups
        mine, other = active[group], active[1 - group]
        # Only the group that runs may drop its priority; anything else is UNPREDICTABLE and ignored here.
        if intid >= _FIRST_SPECIAL or not mine or (other and (other & -other) < (mine & -mine)):
            return
        active[group] = mine & mine - 1
        self._set_running()
        if self._ctlr & _CTLR_EOIMODE:
            self.update()
        else:
            self._deactivate(intid)

    def write_dir(self, value: int) -> None:
        """ICC_DIR_EL1: deactivate; meaningful with EOImode 1 only."""
        intid = value & _INTID_MASK
        if self._ctlr & _CTLR_EOIMODE and intid < _FIRST_SPECIAL:
            self._deactivate(intid)

    def _deactivate(self, intid: int) -> None:
        if intid >= 32:
            spis = self._gicd.spis
            index = intid - spis.first
            if index < spis.count:
                spis.active &= ~(1 << index)
                if not self.routed >> index & 1:
                    self._gicd.update_target(index)
        else:
            self._private.active &= ~(1 << intid)
        self.update()

    def _set_running(self) -> None:
        """The running priority: that of the most urgent interrupt that is active and not yet dropped."""
        active = self._active_groups[0] | self._active_groups[1]
        self._running = (active & -active).bit_length() - 1 << 3 if active else IDLE_PRIORITY

    def _set_preempts(self) -> None:
        """The mask of each group that decides preemption."""
        # Group 1 shifts by one less than its binary point says, as the Non-secure view does (IHI 0069 4.8.2).
        group0 = 0xFF << self._bpr0 + 1 & 0xFF
        self._preempts = (group0, group0 if self._ctlr & _CTLR_CBPR else 0xFF << self._bpr1 & 0xFF)

    # The other registers

    def read_hppir0(self) -> int:
        """ICC_HPPIR0_EL1."""
        return SPURIOUS if self._hppi_group1 else self._hppi

    def read_hppir1(self) -> int:
        """ICC_HPPIR1_EL1."""
        return self._hppi if self._hppi_group1 else SPURIOUS

    def read_rpr(self) -> int:
        """ICC_RPR_EL1: the running priority, 0xff when idle."""
        return self._running

    def read_pmr(self) -> int:
        """ICC_PMR_EL1."""
        return self._pmr

    def write_pmr(self, value: int) -> None:
        """ICC_PMR_EL1: interrupts of lower or equal priority wait."""
        self._pmr = value & PRIORITY_MASK
        self.update()

    def read_bpr0(self) -> int:
        """ICC_BPR0_EL1."""
        return self._bpr0

    def write_bpr0(self, value: int) -> None:
        """ICC_BPR0_EL1: values below the minimum (2) set the minimum."""
        self._bpr0 = max(value & 7, _MIN_BPR0)
        self._change_grouping()

    def read_bpr1(self) -> int:
        """ICC_BPR1_EL1; with CBPR, BPR0 + 1 saturated to 7."""
        return min(self._bpr0 + 1, 7) if self._ctlr & _CTLR_CBPR else self._bpr1

    def write_bpr1(self, value: int) -> None:
        """ICC_BPR1_EL1: values below the minimum (3) set the minimum; ignored with CBPR."""
        if not self._ctlr & _CTLR_CBPR:
            self._bpr1 = max(value & 7, _MIN_BPR1)
            self._change_grouping()

    def read_ctlr(self) -> int:
        """ICC_CTLR_EL1."""
        return _CTLR_FIXED | self._ctlr

    def write_ctlr(self, value: int) -> None:
        """ICC_CTLR_EL1: CBPR and EOImode can be changed."""
        self._ctlr = value & (_CTLR_CBPR | _CTLR_EOIMODE)
        self._change_grouping()

    def read_igrpen0(self) -> int:
        """ICC_IGRPEN0_EL1."""
        return self._igrpen & 1

    def write_igrpen0(self, value: int) -> None:
        """ICC_IGRPEN0_EL1."""
        self._igrpen = self._igrpen & 2 | value & 1
        self.update()

    def read_igrpen1(self) -> int:
        """ICC_IGRPEN1_EL1."""
        return self._igrpen >> 1

    def write_igrpen1(self, value: int) -> None:
        """ICC_IGRPEN1_EL1."""
        self._igrpen = self._igrpen & 1 | (value & 1) << 1
        self.update()

    def read_apr(self, group: int) -> int:
        """ICC_AP0R0_EL1 or ICC_AP1R0_EL1."""
        return self._active_groups[group]

    def write_apr(self, group: int, value: int) -> None:
        """ICC_AP0R0_EL1 or ICC_AP1R0_EL1."""
        self._active_groups[group] = value & 0xFFFF_FFFF
        self._change_grouping()

    def _change_grouping(self) -> None:
        self._set_running()
        self._set_preempts()
        self.update()
