"""Interrupt lines: the wire between a device and the interrupt controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from avmm.lock import DeviceLock


class IrqChip(Protocol):
    """An interrupt controller, seen from its input pins. Called with the device lock held."""

    def set_spi_level(self, number: int, level: bool) -> None:
        """Drive shared input `number` (0-based: SPI 0 is INTID 32 on a GIC)."""


class IrqLine:
    """One input of the interrupt controller, held by the one device that drives it. Callable from any thread."""

    __slots__ = ("_chip", "_level", "_lock", "name", "number", "raised", "trace")

    def __init__(self, chip: IrqChip, number: int, lock: DeviceLock, name: str = "") -> None:
        self._chip, self._lock, self._level = chip, lock, False
        self.number, self.name, self.raised = number, name or f"irq{number}", 0
        self.trace: Callable[[IrqLine, bool], None] | None = None
        """Told of every change of level, before the interrupt controller is; the device lock is held."""

    @property
    def level(self) -> bool:
        """The line as the device last drove it."""
        return self._level

    def set_level(self, level: bool) -> None:
        """Drive the line. Setting the level it has is nothing."""
        with self._lock:
            if level != self._level:
                self._level = level
                self.raised += level
                if self.trace is not None:
                    self.trace(self, level)
                self._chip.set_spi_level(self.number, level)

    def pulse(self) -> None:
        """Raise and lower the line: one edge, for an input configured edge-triggered."""
        with self._lock:
            self.set_level(True)
            self.set_level(False)
