"""The GICv2 distributor (Arm IHI 0048B 4.3): shared and private interrupts, their targets, and SGIs."""

from __future__ import annotations

from collections.abc import Sequence

from avmm.plugin import Device, Width
from avmm_arm64.gic.access import WORD, read_words, write_words
from avmm_arm64.gic.cpu_interface_v2 import CpuInterfaceV2
from avmm_arm64.gic.distributor import IIDR
from avmm_arm64.gic.irq_state import IrqBank
from avmm_arm64.intid import FIRST_SPI, PRIVATE_COUNT, SGI_COUNT, SGI_MASK, SPI_COUNT

PIDR2 = 0x2B
"""Architecture revision 2: a GICv2."""

_CTLR, _SGIR = 0x000, 0xF00
_ISPENDR0, _ICPENDR0 = 0x200, 0x280
_IPRIORITYR, _ITARGETSR, _ICFGR = 0x400, 0x800, 0xC00
_CPENDSGIR, _SPENDSGIR, _SPENDSGIR_END = 0xF10, 0xF20, 0xF30
_EVERY_BYTE = 0x0101_0101


class Accessor:
    """Which vCPU's access the GIC is answering: its registers are banked. Written and read with the device lock held."""

    __slots__ = ("index",)

    def __init__(self) -> None:
        self.index = 0


class DistributorV2(Device):
    """GICD of a GICv2. Owner: the device lock. Registers of INTIDs 0 to 31 are banked by the accessing vCPU.

    An SPI is offered to every vCPU in its ITARGETSR, and taken by the first to acknowledge it. Out of reset that is vCPU 0.
    """

    size = 0x1000

    def __init__(self, banks: Sequence[IrqBank], accessor: Accessor) -> None:
        self._banks, self._accessor = banks, accessor
        self._interfaces: Sequence[CpuInterfaceV2] = ()
        self._present = (1 << len(banks)) - 1
        self.spis = IrqBank(FIRST_SPI, SPI_COUNT, configurable=(1 << SPI_COUNT) - 1)
        self.groups = 0
        self._targets = bytearray(SPI_COUNT)

    def attach(self, interfaces: Sequence[CpuInterfaceV2]) -> None:
        """Connect the CPU interfaces, by vCPU index."""
        self._interfaces = interfaces
        self.reset_state()

    def reset_state(self) -> None:
        """Power-on state."""
        self.spis.reset()
        for bank, interface in zip(self._banks, self._interfaces, strict=True):
            bank.reset()
            interface.sources[:] = [0] * SGI_COUNT
        self.groups = 0
        for index in range(SPI_COUNT):
            self._set_targets(index, 1)
        self.update_all()

    def set_level(self, index: int, level: bool) -> None:
        """Drive the wire of SPI `index` (0 to 255; others do not exist and are ignored)."""
        if 0 <= index < SPI_COUNT:
            self.spis.set_level(index, level)
            self.update_target(index)

    def update_target(self, index: int) -> None:
        """The state of SPI `index` changed: let every CPU interface it is offered to look again."""
        targets = self._targets[index]
        for number, interface in enumerate(self._interfaces):
            if targets >> number & 1:
                interface.update()

    def update_all(self) -> None:
        """Let every CPU interface look again."""
        for interface in self._interfaces:
            interface.update()

    def read(self, offset: int, width: Width) -> int:
        return read_words(self._read_word, offset, width)

    def write(self, offset: int, width: Width, value: int) -> None:
        if width == Width.W8 and (_IPRIORITYR <= offset < _ICFGR or _CPENDSGIR <= offset < _SPENDSGIR_END):
            self._write_byte(offset, value)
        else:
            write_words(self._write_word, offset, width, value)
        self.update_all()

    def _read_word(self, offset: int) -> int:
        if _ITARGETSR <= offset < _ICFGR:
            return self._read_targets(offset - _ITARGETSR)
        if 0x80 <= offset < 0xD00:
            # Each bank answers 0 for what is the other's.
            return self._banks[self._accessor.index].read(offset) | self.spis.read(offset)
        if _CPENDSGIR <= offset < _SPENDSGIR_END:
            first = offset & 0xC
            return int.from_bytes(bytes(self._interfaces[self._accessor.index].sources[first : first + 4]), "little")
        match offset:
            case 0x000:
                return self.groups
            case 0x004:
                return len(self._banks) - 1 << 5 | (SPI_COUNT + FIRST_SPI) // 32 - 1  # CPUNumber, ITLinesNumber
            case 0x008:
                return IIDR
            case 0xFE8:
                return PIDR2
            case _:
                return 0

    def _write_word(self, offset: int, value: int) -> None:
        if offset == _CTLR:
            self.groups = value & 0b11
        elif offset == _SGIR:
            self._send_sgi(value)
        elif _ITARGETSR <= offset < _ICFGR or _CPENDSGIR <= offset < _SPENDSGIR_END:
            for byte in range(4):
                self._write_byte(offset + byte, value >> 8 * byte & 0xFF)
        elif 0x80 <= offset < 0xD00:
            if offset in (_ISPENDR0, _ICPENDR0):
                value &= ~SGI_MASK & WORD  # SGIs are made pending by their senders (4.3.7)
            self._banks[self._accessor.index].write(offset, value)
            self.spis.write(offset, value)

    def _write_byte(self, offset: int, value: int) -> None:
        if offset < _ITARGETSR:
            self._banks[self._accessor.index].write_priority(offset, value)
            self.spis.write_priority(offset, value)
        elif offset < _ICFGR:
            index = offset - _ITARGETSR - FIRST_SPI
            if 0 <= index < SPI_COUNT:
                self._set_targets(index, value)
        else:
            self._write_pending_sgi(offset, value)

    def _write_pending_sgi(self, offset: int, sources: int) -> None:
        """GICD_CPENDSGIRn and GICD_SPENDSGIRn (4.3.16, 4.3.17): a byte an SGI, a bit a sender."""
        interface, intid = self._interfaces[self._accessor.index], offset & 0xF
        if offset < _SPENDSGIR:
            interface.drop_sgi(intid, sources)
            return
        for source in range(len(self._interfaces)):
            if sources >> source & 1:
                interface.add_sgi(intid, source)

    def _read_targets(self, first: int) -> int:
        """GICD_ITARGETSRn (4.3.12): of private interrupts, the vCPU that reads."""
        if first < PRIVATE_COUNT:
            return _EVERY_BYTE << self._accessor.index
        index = first - FIRST_SPI
        return int.from_bytes(self._targets[index : index + 4], "little") if index < SPI_COUNT else 0

    def _set_targets(self, index: int, targets: int) -> None:
        self._targets[index] = targets & self._present
        bit = 1 << index
        for number, interface in enumerate(self._interfaces):
            if targets >> number & 1:
                interface.routed |= bit
            else:
                interface.routed &= ~bit

    def _send_sgi(self, value: int) -> None:
        """GICD_SGIR (4.3.15): to a list of vCPUs, to all others, or to itself."""
        sender, intid = self._accessor.index, value & 0xF
        match value >> 24 & 0b11:
            case 0:
                targets = value >> 16 & self._present
            case 1:
                targets = self._present & ~(1 << sender)
            case 2:
                targets = 1 << sender
            case _:
                targets = 0  # reserved
        for number, interface in enumerate(self._interfaces):
            if targets >> number & 1:
                interface.add_sgi(intid, sender)
