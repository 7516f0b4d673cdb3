"""The registers of the PL061 (Arm DDI 0190, chapter 3): eight pins, each an input or an output, with one interrupt for all."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

PINS: Final = 8
_MASK = (1 << PINS) - 1
_DATA_END = 0x400
"""GPIODATA takes the addresses below: bits 9 to 2 of an address are the mask of the pins that the access is about."""


class Register(IntEnum):
    """Byte offsets from the base address (table 3-1) of all registers but GPIODATA. Registers are 32 bits apart."""

    DIR = 0x400
    IS = 0x404
    IBE = 0x408
    IEV = 0x40C
    IE = 0x410
    RIS = 0x414
    MIS = 0x418
    IC = 0x41C
    AFSEL = 0x420


_BY_OFFSET = {int(register): register for register in Register}

IDENTIFICATION: Final[dict[int, int]] = dict(
    zip(range(0xFE0, 0x1000, 4), (0x61, 0x10, 0x04, 0x00, 0x0D, 0xF0, 0x05, 0xB1), strict=True)
)
"""GPIOPeriphID0-3 (part 0x061, designer 0x41, revision 0) and GPIOPCellID0-3."""


class Pl061:
    """The model alone. `set_irq(level)` drives GPIOINTR, the combined interrupt; it must not call back.

    What drives the pins from outside is `lines`; a pin that is an output neither reads nor interrupts by its line. A pin given to
    hardware control (GPIOAFSEL) is as it was: there is no hardware to control it.
    """

    __slots__ = ("_afsel", "_both", "_dir", "_edges", "_irq", "_latch", "_level", "_mask", "_rising", "_set_irq", "lines")

    def __init__(self, set_irq: Callable[[bool], None]) -> None:
        self._set_irq = set_irq
        self.lines = 0
        """The levels of the eight input lines, a bit each."""
        self._irq = False
        self.reset()

    def reset(self) -> None:
        """Every register to its reset value: all pins are inputs that detect edges, and none interrupts. The lines stay."""
        self._latch = self._dir = self._level = self._both = self._rising = self._mask = self._afsel = 0
        self._edges = 0
        self._update_irq()

    @property
    def raw(self) -> int:
        """GPIORIS: edges since they were cleared, and the level of pins that detect levels."""
        levels = ~(self.lines ^ self._rising) & ~self._dir
        return self._edges & ~self._level | levels & self._level

    def set_line(self, pin: int, *, high: bool) -> None:
        """Drive input line `pin` (0 to 7)."""
        before, bit = self.lines, 1 << pin
        self.lines = before | bit if high else before & ~bit
        changed = (before ^ self.lines) & ~self._dir & ~self._level
        self._edges |= changed & (self._both | ~(self.lines ^ self._rising))
        self._update_irq()

    def read(self, offset: int) -> int:
        """The register at byte `offset`; 0 where there is none."""
        if offset < _DATA_END:
            pins = self._latch & self._dir | self.lines & ~self._dir
            return 0 if offset & 3 else pins & offset >> 2
        match _BY_OFFSET.get(offset):
            case Register.DIR:
                return self._dir
            case Register.IS:
                return self._level
            case Register.IBE:
                return self._both
            case Register.IEV:
                return self._rising
            case Register.IE:
                return self._mask
            case Register.RIS:
                return self.raw
            case Register.MIS:
                return self.raw & self._mask
            case Register.AFSEL:
                return self._afsel
            case _:
                return IDENTIFICATION.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Write the register at byte `offset`; ignored where there is none or it is read-only."""
        value &= _MASK
        if offset < _DATA_END:
            mask = 0 if offset & 3 else offset >> 2 & self._dir
            self._latch = self._latch & ~mask | value & mask
            return
        match _BY_OFFSET.get(offset):
            case Register.DIR:
                self._dir = value
            case Register.IS:
                self._level = value
            case Register.IBE:
                self._both = value
            case Register.IEV:
                self._rising = value
            case Register.IE:
                self._mask = value
            case Register.IC:
                self._edges &= ~value
            case Register.AFSEL:
                self._afsel = value
            case _:
                return
        self._update_irq()

    def _update_irq(self) -> None:
        level = bool(self.raw & self._mask)
        if level != self._irq:
            self._irq = level
            self._set_irq(level)
