"""A GICv3 that leaves to lie what KVM's does: an interrupt is delivered for what happens to it, not to its distributor.

KVM puts an interrupt on its vCPU's list when its line changes, when it is sent, or when the guest enables, groups or sets it;
not when the distributor is switched on (`vgic_queue_irq_unlock`, `vgic_mmio_write_v3_misc`). What was pending and enabled before
that stays where it is until something happens to it. By the GIC's specification, switching the distributor on is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from avmm.plugin import Device, Width
from avmm_arm64.gic import CpuInterface, Gic
from avmm_arm64.gic.access import WORD
from avmm_arm64.gic.irq_state import IrqBank
from avmm_arm64.gic.redistributor import FRAME_SIZE, SGI_BASE

_CTLR, _ENABLE_GROUP1 = 0x0000, 1 << 1


@dataclass(slots=True)
class Overlooked:
    """What of a bank is pending and not to be delivered: bitmaps like the bank's, which have these bits clear meanwhile."""

    bank: IrqBank
    latch: int = 0
    level: int = 0

    def overlook(self) -> None:
        """Everything that could be delivered now is overlooked."""
        bank = self.bank
        ready = bank.pending() & bank.enabled & ~bank.active
        latch, level = bank.latch & ready, bank.level & ~bank.edge & ready
        bank.latch ^= latch
        bank.level ^= level
        self.latch |= latch
        self.level |= level

    def notice(self, bits: int) -> None:
        """Something happened to these: they are delivered as any other."""
        self.bank.latch |= self.latch & bits
        self.bank.level |= self.level & bits
        self.latch &= ~bits
        self.level &= ~bits

    def written(self, offset: int, value: int) -> None:
        """The guest writes one of the registers that have a bit for each interrupt."""
        shift = (offset & 0x7F) * 8 - self.bank.first
        match offset & ~0x7F:
            case _ if shift < 0:
                pass
            case 0x080:  # IGROUPR, every one of its interrupts
                self.notice(WORD << shift)
            case 0x100 | 0x200 | 0x300:  # ISENABLER, ISPENDR, ISACTIVER
                self.notice((value & WORD) << shift)
            case 0x280:  # ICPENDR
                self.latch &= ~((value & WORD) << shift)
            case _:
                pass

    def pending(self, offset: int) -> int:
        """What it adds to a read of the 32-bit register at `offset`: ISPENDR and ICPENDR tell of these too."""
        shift = (offset & 0x7F) * 8 - self.bank.first
        return (self.latch | self.level) >> shift & WORD if offset & ~0xFF == 0x200 and shift >= 0 else 0


class LastingInterface(CpuInterface):
    """A CPU interface that a reset of its vCPU leaves as it is: KVM resets it with the whole controller alone."""

    def reset(self) -> None:
        """Nothing but a look at what is pending."""
        self.update()


class QueueingGic(Gic):
    """See the module; arguments as for `Gic`. Its registers are `distributor_device` and `redistributors_device`."""

    def __init__(self, affinities: Sequence[int], signal: Callable[[int, bool, bool], None], spis: int) -> None:
        super().__init__(affinities, signal, spis)
        for index, redistributor in enumerate(self.redistributors):
            redistributor.interface = LastingInterface(redistributor.bank, self.distributor, partial(signal, index))
            self.interfaces[index] = redistributor.interface
        self.distributor.attach(self.interfaces)
        self._shared = Overlooked(self.distributor.spis)
        self._private = [Overlooked(redistributor.bank) for redistributor in self.redistributors]
        self.distributor_device: Device = _Watched(self.distributor, lambda offset: (self._shared, offset), self._switch)
        self.redistributors_device: Device = _Watched(self.region, self._private_register, lambda offset, value: None)

    def set_spi_level(self, number: int, level: bool) -> None:
        if number < self.distributor.spis.count and self._happens(self._shared, 1 << number, level=level):
            super().set_spi_level(number, level)

    def set_ppi_level(self, index: int, intid: int, level: bool) -> None:
        if self._happens(self._private[index], 1 << intid, level=level):
            super().set_ppi_level(index, intid, level)

    def send_sgi(self, sender: int, value: int, *, group1: bool) -> None:
        super().send_sgi(sender, value, group1=group1)
        for overlooked in self._private:
            overlooked.latch &= ~overlooked.bank.latch

    def overlooked_latch(self, bank: IrqBank) -> int:
        """What of a bank is latched and overlooked."""
        return next(one.latch for one in (self._shared, *self._private) if one.bank is bank)

    def _happens(self, overlooked: Overlooked, bit: int, *, level: bool) -> bool:
        """A wire is driven: False when it has that level already, which is nothing."""
        if level and overlooked.level & bit:
            return False
        if level or not overlooked.bank.edge & bit:
            overlooked.notice(bit)
        return True

    def _private_register(self, offset: int) -> tuple[Overlooked, int]:
        return self._private[offset // FRAME_SIZE], offset % FRAME_SIZE - SGI_BASE

    def _switch(self, offset: int, value: int) -> None:
        """The distributor is switched on by a write to GICD_CTLR."""
        if offset == _CTLR and value & _ENABLE_GROUP1 and not self.distributor.groups & _ENABLE_GROUP1:
            for overlooked in (self._shared, *self._private):
                overlooked.overlook()


class _Watched(Device):
    """Registers whose accesses are looked at first. `find` tells whose a register is, and its offset in a bank."""

    def __init__(
        self,
        device: Device,
        find: Callable[[int], tuple[Overlooked, int]],
        before: Callable[[int, int], None],
    ) -> None:
        self._device, self._find, self._before = device, find, before
        self.size = device.size

    def read(self, offset: int, width: Width) -> int:
        overlooked, register = self._find(offset & ~3)
        return self._device.read(offset, width) | overlooked.pending(register) >> 8 * (offset & 3)

    def write(self, offset: int, width: Width, value: int) -> None:
        if width == Width.W32 and not offset & 3:
            overlooked, register = self._find(offset)
            self._before(offset, value)
            overlooked.written(register, value)
        self._device.write(offset, width, value)
