"""The PL031 as a device of a machine: registers on the bus, one interrupt line, the VM's clock."""

from __future__ import annotations

import time

from avmm.plugin import Clock, Device, DeviceLock, DeviceOptions, DeviceTable, IrqLine, TimerHandle, Width
from avmm_rtc.pl031 import Pl031


class Pl031Device(Device):
    """A PL031. Owner of all state: the device lock.

    A register is an aligned word, of which a narrower access reads the low bytes; the widest is 32 bits.
    """

    size = 0x1000

    def __init__(self, clock: Clock, lock: DeviceLock, irq: IrqLine | None, epoch_s: int) -> None:
        """`epoch_s`: seconds since 1970 at power-on, modulo 2**32."""
        self._clock, self._lock = clock, lock
        self.model = Pl031(clock.now_ns, irq.set_level if irq else _nowhere, epoch_s)
        self._timer: TimerHandle | None = None
        self._armed_ns: int | None = None

    def read(self, offset: int, width: Width) -> int:
        return self.model.read(offset)

    def write(self, offset: int, width: Width, value: int) -> None:
        self.model.write(offset, value)
        self._arm()

    def reset(self) -> None:
        self.model.reset()
        self._arm()

    def _arm(self) -> None:
        when_ns = self.model.next_match_ns
        if when_ns == self._armed_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_ns = when_ns
        self._timer = None if when_ns is None else self._clock.call_at(when_ns, self._due)

    def _due(self) -> None:
        """On the event loop's thread; a timer that was cancelled meanwhile finds nothing due."""
        with self._lock:
            self.model.update()
            self._arm()


def _nowhere(_level: bool) -> None:
    """The interrupt output of a clock without an interrupt."""


def create_device(options: DeviceOptions) -> Device:
    """The factory behind the name `pl031`. Option `epoch`: seconds since 1970 at power-on; ConfigError for anything else.

    By default it is the host's time of day, but 0 in virtual time, where every run must be the same.
    """
    epoch = DeviceTable(options, "pl031", ("epoch",)).integer("epoch", 0, (1 << 32) - 1)
    if epoch is None:
        # The time of day is the one thing the VM's clock cannot tell: its start is arbitrary.
        epoch = int(time.time()) if options.clock.is_host else 0
    return Pl031Device(options.clock, options.lock, options.irq, epoch)
