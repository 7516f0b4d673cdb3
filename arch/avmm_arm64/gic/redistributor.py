"""The redistributors (IHI 0069 12.10, 12.11): one a vCPU, with its SGIs and PPIs; no LPIs."""

from __future__ import annotations

from collections.abc import Sequence

from avmm.plugin import Device, Width
from avmm_arm64.gic.access import WORD, read_words, write_words
from avmm_arm64.gic.cpu_interface import CpuInterface
from avmm_arm64.gic.distributor import IIDR, PIDR2
from avmm_arm64.gic.irq_state import IrqBank, is_priority
from avmm_arm64.intid import PRIVATE_COUNT, SGI_MASK

FRAME_SIZE = 0x20000
"""RD_base and SGI_base, 64 KiB each."""
SGI_BASE = 0x1_0000

_WAKER = 0x0014
_PROCESSOR_SLEEP, _CHILDREN_ASLEEP = 1 << 1, 1 << 2


class Redistributor:
    """GICR of one vCPU: the registers of INTIDs 0 to 31. Owner: the device lock.

    `affinity` is Aff3.Aff2.Aff1.Aff0 in 32 bits, as in GICR_TYPER. PPIs are level-sensitive, SGIs edge-triggered, neither can be
    changed. GICR_WAKER keeps what is written, but a sleeping redistributor forwards all the same: waking takes no time here.
    """

    __slots__ = ("_asleep", "_typer", "bank", "interface")

    def __init__(self, index: int, affinity: int, *, last: bool) -> None:
        self._typer = affinity << 32 | index << 8 | last << 4
        self.bank = IrqBank(0, PRIVATE_COUNT, always_edge=SGI_MASK)
        self.interface: CpuInterface
        self._asleep = True

    def reset(self) -> None:
        """Power-on state."""
        self.bank.reset()
        self._asleep = True

    def read(self, offset: int) -> int:
        """The 32-bit register at word-aligned `offset` in the two frames."""
        if offset >= SGI_BASE:
            offset -= SGI_BASE
            return self.bank.read(offset) if 0x80 <= offset < 0xD00 else 0
        match offset:
            case 0x0004:
                return IIDR
            case 0x0008:
                return self._typer & WORD
            case 0x000C:
                return self._typer >> 32
            case 0x0014:
                return (_PROCESSOR_SLEEP | _CHILDREN_ASLEEP) * self._asleep
            case 0xFFE8:
                return PIDR2
            case _:
                return 0

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at word-aligned `offset` in the two frames."""
        if offset == _WAKER:
            self._asleep = bool(value & _PROCESSOR_SLEEP)
        elif 0x80 <= offset - SGI_BASE < 0xD00:
            self.bank.write(offset - SGI_BASE, value)
            self.interface.update()

    def write_priority(self, offset: int, value: int) -> None:
        """Write one priority byte at `offset` in the two frames."""
        self.bank.write_priority(offset - SGI_BASE, value)
        self.interface.update()


class RedistributorRegion(Device):
    """The frames of all redistributors, one after the other, in the order of the vCPUs."""

    def __init__(self, redistributors: Sequence[Redistributor]) -> None:
        self._redistributors = redistributors
        self.size = FRAME_SIZE * len(redistributors)

    def read(self, offset: int, width: Width) -> int:
        redistributor = self._redistributors[offset // FRAME_SIZE]
        return read_words(redistributor.read, offset % FRAME_SIZE, width)

    def write(self, offset: int, width: Width, value: int) -> None:
        redistributor = self._redistributors[offset // FRAME_SIZE]
        offset %= FRAME_SIZE
        if width == Width.W8 and is_priority(offset - SGI_BASE):
            redistributor.write_priority(offset, value)
        else:
            write_words(redistributor.write, offset, width, value)
