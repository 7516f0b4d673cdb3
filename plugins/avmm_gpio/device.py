"""The PL061 as a device of a machine: registers on the bus, one interrupt line, and a power button on one of its pins."""

from __future__ import annotations

from typing import Final

from avmm.plugin import Clock, Device, DeviceLock, DeviceOptions, DeviceTable, IrqLine, TimerHandle, Width
from avmm_gpio.pl061 import Pl061

POWER_BUTTON: Final = 3
"""The pin that the power button is on, as on QEMU's `virt` machine."""
HELD_NS: Final = 100_000_000
"""How long the button is held from the time that the guest looks at it: longer than anybody takes it for bouncing."""


class Pl061Device(Device):
    """A PL061. Owner of all state: the device lock.

    A register is an aligned word, of which a narrower access reads the low bytes. The power button's pin is high while it is
    pressed. It is held until the guest has looked at it and `HELD_NS` longer, so that a driver that waits for the end of
    bouncing finds it pressed however late it comes.
    """

    size = 0x1000

    def __init__(self, clock: Clock, lock: DeviceLock, irq: IrqLine | None) -> None:
        self._clock, self._lock = clock, lock
        self.model = Pl061(irq.set_level if irq else _nowhere)
        self._release: TimerHandle | None = None
        self.power_button = self._press

    def read(self, offset: int, width: Width) -> int:
        value = self.model.read(offset)
        if self._release is None and self._sees_button(offset, value):
            self._release = self._clock.call_at(self._clock.now_ns() + HELD_NS, self._due)
        return value

    def write(self, offset: int, width: Width, value: int) -> None:
        self.model.write(offset, value)

    def reset(self) -> None:
        self._let_go()
        self.model.reset()

    def _press(self) -> None:
        self.model.set_line(POWER_BUTTON, high=True)

    def _sees_button(self, offset: int, value: int) -> bool:
        """True when the guest, reading `value` at `offset`, learns that the button is pressed."""
        pressed = self.model.lines & 1 << POWER_BUTTON
        return bool(pressed and offset < 0x400 and value & pressed)

    def _due(self) -> None:
        """On the event loop's thread; a timer that was cancelled meanwhile has nothing to let go of."""
        with self._lock:
            if self._release is not None:
                self._let_go()

    def _let_go(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None
        self.model.set_line(POWER_BUTTON, high=False)


def _nowhere(_level: bool) -> None:
    """The interrupt output of a controller without an interrupt."""


def create_device(options: DeviceOptions) -> Device:
    """The factory behind the name `pl061`. It has no options; ConfigError for any."""
    DeviceTable(options, "pl061", ())
    return Pl061Device(options.clock, options.lock, options.irq)
