"""The distributor (IHI 0069 12.9): shared interrupts, their routing, and the group enables of the whole controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from avmm.plugin import Device, Width
from avmm_arm64.gic.access import WORD, read_words, write_words
from avmm_arm64.gic.cpu_interface import CpuInterface
from avmm_arm64.gic.irq_state import IrqBank, is_priority
from avmm_arm64.intid import FIRST_SPI, SPI_COUNT

IIDR = 0x0000_043B
"""Implementer 0x43b (Arm), product and revision 0; the redistributors' too."""
PIDR2 = 0x3B
"""Architecture revision 3: a GICv3."""

_CTLR = 0x0000
_IROUTER_START = 0x6100
_CTLR_GROUPS = 0b11
_CTLR_ARE_DS = 1 << 4 | 1 << 6
"""Affinity routing and a single Security state: both read as one and cannot be changed."""
_TYPER = 1 << 25 | 9 << 19
"""No1N: an SPI has one target; IDbits: 10-bit INTIDs; no LPIs, MBIs, Aff3, extended range. ITLinesNumber is to be added."""
_AFFINITY_MASK = 0xFF_FFFF
"""What IROUTER has: Aff2, Aff1, Aff0. Aff3 and Interrupt_Routing_Mode are RES0 (TYPER.A3V = 0, No1N = 1)."""


class Distributor(Device):
    """GICD: the registers of the shared peripheral interrupts (SPI n is INTID 32 + n). Owner: the device lock.

    `by_affinity` finds a vCPU by Aff3.Aff2.Aff1.Aff0 in 32 bits; only those with Aff3 = 0 can be targets. There are `spis`
    interrupts: 960 at most, a multiple of 32.
    """

    size = 0x10000

    def __init__(self, by_affinity: Mapping[int, int], spis: int = SPI_COUNT) -> None:
        self._by_affinity, self._count = by_affinity, spis
        self._irouter_end = _IROUTER_START + 8 * spis
        self._interfaces: Sequence[CpuInterface] = ()
        self.spis = IrqBank(FIRST_SPI, spis, configurable=(1 << spis) - 1)
        self.groups = 0
        self._router = [0] * spis
        self._target: list[int | None] = [None] * spis

    def attach(self, interfaces: Sequence[CpuInterface]) -> None:
        """Connect the CPU interfaces, by vCPU index."""
        self._interfaces = interfaces
        self.reset_state()

    def reset_state(self) -> None:
        """Power-on state; every SPI is routed to affinity 0.0.0.0."""
        self.spis.reset()
        self.groups = 0
        for index in range(self._count):
            self._route(index, 0)
        self.update_all()

    def set_level(self, index: int, level: bool) -> None:
        """Drive the wire of SPI `index`; those that do not exist are ignored."""
        if 0 <= index < self._count:
            self.spis.set_level(index, level)
            self.update_target(index)

    def update_target(self, index: int) -> None:
        """The state of SPI `index` changed: let the CPU interface it is routed to look again."""
        target = self._target[index]
        if target is not None:
            self._interfaces[target].update()

    def update_all(self) -> None:
        """Let every CPU interface look again."""
        for interface in self._interfaces:
            interface.update()

    def read(self, offset: int, width: Width) -> int:
        return read_words(self._read_word, offset, width)

    def write(self, offset: int, width: Width, value: int) -> None:
        if width == Width.W8 and is_priority(offset):
            self.spis.write_priority(offset, value)
        else:
            write_words(self._write_word, offset, width, value)
        self.update_all()

    def _read_word(self, offset: int) -> int:
        if 0x80 <= offset < 0xD00:
            return self.spis.read(offset)
        if _IROUTER_START <= offset < self._irouter_end:
            router = self._router[(offset - _IROUTER_START) >> 3]
            return router >> 32 if offset & 4 else router & WORD
        match offset:
            case 0x0000:
                return _CTLR_ARE_DS | self.groups
            case 0x0004:
                return _TYPER | (self._count + FIRST_SPI) // 32 - 1
            case 0x0008:
                return IIDR
            case 0xFFE8:
                return PIDR2
            case _:
                return 0

    def _write_word(self, offset: int, value: int) -> None:
        if offset == _CTLR:
            self.groups = value & _CTLR_GROUPS
        elif 0x80 <= offset < 0xD00:
            self.spis.write(offset, value)
        elif _IROUTER_START <= offset < self._irouter_end:
            index = (offset - _IROUTER_START) >> 3
            router = self._router[index]
            self._route(index, router & WORD | value << 32 if offset & 4 else router & ~WORD | value)

    def _route(self, index: int, router: int) -> None:
        bit = 1 << index
        old = self._target[index]
        if old is not None:
            self._interfaces[old].routed &= ~bit
        self._router[index] = router & _AFFINITY_MASK
        # An affinity that no vCPU has: the interrupt stays pending in the distributor.
        new = self._target[index] = self._by_affinity.get(router & _AFFINITY_MASK)
        if new is not None:
            self._interfaces[new].routed |= bit
