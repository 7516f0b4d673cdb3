"""The registers of the PL031 (Arm DDI 0224, chapter 3): a 32-bit counter of seconds with one match interrupt."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

NS_PER_S: Final = 1_000_000_000
_MASK = 0xFFFF_FFFF


class Register(IntEnum):
    """Byte offsets from the base address (table 3-1). Registers are 32 bits apart."""

    DR = 0x000
    MR = 0x004
    LR = 0x008
    CR = 0x00C
    IMSC = 0x010
    RIS = 0x014
    MIS = 0x018
    ICR = 0x01C


_BY_OFFSET = {int(register): register for register in Register}

IDENTIFICATION: Final[dict[int, int]] = dict(
    zip(range(0xFE0, 0x1000, 4), (0x31, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1), strict=True)
)
"""RTCPeriphID0-3 (part 0x031, designer 0x41, revision 1) and RTCPCellID0-3."""


class Pl031:
    """The model alone. `now_ns()` is the clock, `set_irq(level)` drives RTCINTR, `epoch_s` is the time at power-on.

    The counter runs from power-on: RTCCR reads 1, and cannot be cleared, as after firmware has started it.
    """

    __slots__ = ("_base", "_irq", "_load", "_match", "_match_ns", "_now_ns", "_set_irq", "_start_ns", "mask", "raw")

    def __init__(self, now_ns: Callable[[], int], set_irq: Callable[[bool], None], epoch_s: int) -> None:
        self._now_ns, self._set_irq = now_ns, set_irq
        self._start_ns, self._base = now_ns(), epoch_s & _MASK
        self._irq = False
        self.reset()

    def reset(self) -> None:
        """Registers to their reset values. The counter goes on: it is what a battery is for."""
        self._match = self._load = 0
        self._match_ns: int | None = None
        self.raw = self.mask = False
        self._update_irq()

    @property
    def next_match_ns(self) -> int | None:
        """When the counter reaches RTCMR next, in the clock's nanoseconds; None when no match was ever set."""
        return self._match_ns

    def read(self, offset: int) -> int:
        """The 32-bit register at byte `offset`; 0 where there is none."""
        self.update()
        match _BY_OFFSET.get(offset):
            case Register.DR:
                return self._count(self._now_ns())
            case Register.MR:
                return self._match
            case Register.LR:
                return self._load
            case Register.CR:
                return 1
            case Register.IMSC:
                return int(self.mask)
            case Register.RIS:
                return int(self.raw)
            case Register.MIS:
                return int(self.raw and self.mask)
            case _:
                return IDENTIFICATION.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Write the register at byte `offset`; ignored where there is none or it is read-only."""
        self.update()
        match _BY_OFFSET.get(offset):
            case Register.MR:
                self._match = value & _MASK
                self._set_match()
            case Register.LR:
                self._load = value & _MASK
                # The fraction of a second that has passed stays: the divider runs on.
                self._base = self._base + self._load - self._count(self._now_ns()) & _MASK
                if self._match_ns is not None:
                    self._set_match()
            case Register.IMSC:
                self.mask = bool(value & 1)
            case Register.ICR:
                if value & 1:
                    self.raw = False
            case _:
                return
        self._update_irq()

    def update(self) -> None:
        """Bring RTCRIS up to date: it is set when the counter reaches RTCMR, masked or not."""
        while self._match_ns is not None and self._match_ns <= self._now_ns():
            self.raw = True
            self._match_ns += NS_PER_S << 32  # once around
        self._update_irq()

    def _count(self, now_ns: int) -> int:
        return self._base + (now_ns - self._start_ns) // NS_PER_S & _MASK

    def _set_match(self) -> None:
        """RTCMR equal to the counter matches at once."""
        now_ns = self._now_ns()
        whole = (now_ns - self._start_ns) // NS_PER_S
        self._match_ns = self._start_ns + (whole + (self._match - self._count(now_ns) & _MASK)) * NS_PER_S
        self.update()

    def _update_irq(self) -> None:
        level = self.raw and self.mask
        if level != self._irq:
            self._irq = level
            self._set_irq(level)
