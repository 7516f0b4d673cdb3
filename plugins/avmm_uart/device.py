"""The PL011 as a device of a machine: registers on the bus, one interrupt line, the VM's console at the other end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from avmm.plugin import (
    Console,
    Device,
    DeviceOptions,
    DeviceTable,
    Figure,
    FigureKind,
    FigureValue,
    IrqLine,
    ServedRegister,
    Width,
    loose_register,
)
from avmm_uart.pl011 import Pl011
from avmm_uart.registers import CR_RESET, CR_UARTEN, LCR_H_FEN, Register

_AS_FIRMWARE_LEAVES_IT = (CR_RESET | CR_UARTEN, LCR_H_FEN | 0x60)
"""UARTCR and UARTLCR_H: on, 8 bits, FIFOs enabled."""

_BYTES = "Bytes through a UART."
_LOST = "Bytes that a UART lost: to a full FIFO, or with its receiver or transmitter off."
_TRANSMITTED = Figure("uart_bytes", FigureKind.COUNTER, _BYTES, {"direction": "transmitted"})
_RECEIVED = Figure("uart_bytes", FigureKind.COUNTER, _BYTES, {"direction": "received"})
_OVERRUN = Figure("uart_lost_bytes", FigureKind.COUNTER, _LOST, {"at": "overrun"})
_OFF = Figure("uart_lost_bytes", FigureKind.COUNTER, _LOST, {"at": "off"})
_UNKNOWN = Figure("uart_unknown_accesses", FigureKind.COUNTER, "Accesses to offsets where a UART has no register.")


class Pl011Device(Device):
    """A PL011. Owner of all state: the device lock.

    Nobody types faster than the guest reads: input goes into the receive FIFO as that has room, and waits in the console.
    """

    size = 0x1000

    def __init__(
        self,
        console: Console,
        irq: IrqLine | None,
        *,
        enabled: bool = True,
        serve_register: Callable[[int], ServedRegister] = loose_register,
    ) -> None:
        """`enabled`: after a reset the UART is on, as firmware leaves it, which guests without a driver rely on; there is no
        firmware here. Otherwise it is off, as the hardware comes out of reset."""
        cr, lcr_h = _AS_FIRMWARE_LEAVES_IT if enabled else (CR_RESET, 0)
        self.model = Pl011(console.write, irq.set_level if irq else _nowhere, cr=cr, lcr_h=lcr_h)
        self._console = console
        self._starved = False
        """Input waits in the console."""
        self._flags, self._data = serve_register(Register.FR), serve_register(Register.DR)
        self._tell()
        console.on_input(self.receive)

    def read(self, offset: int, width: Width) -> int:
        value = self.model.read(offset, width)
        if self._starved and self.model.room:
            self._console.deliver()
        self._tell()
        return value

    def write(self, offset: int, width: Width, value: int) -> None:
        self.model.write(offset, width, value)
        if self._starved and self.model.room:
            self._console.deliver()
        self._tell()

    def write_coalesced(self, offset: int, width: Width, values: Sequence[int]) -> None:
        self.model.write_run(values)
        self._tell()

    def reset(self) -> None:
        self._console.discard_input(self.receive)
        self._starved = False
        self.model.reset()
        self._tell()

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        model = self.model
        return (
            (_TRANSMITTED, model.transmitted),
            (_RECEIVED, model.received),
            (_OVERRUN, model.overruns),
            (_OFF, model.lost),
            (_UNKNOWN, model.unknown_accesses),
        )

    def receive(self, data: bytes) -> int:
        """Input from the host; how many bytes the FIFO has room for, from the front. The caller holds the device lock."""
        taken = data[: self.model.room]
        self._starved = len(taken) < len(data)
        if taken:
            self.model.receive(taken)
            self._tell()
        return len(taken)

    def _tell(self) -> None:
        """Say what the guest would read of UARTFR now, and whether a character can wait on its way to the console."""
        model = self.model
        self._flags.tell(reads_as=model.flags)
        self._data.tell(coalesces=model.sends_in_silence)


def _nowhere(_level: bool) -> None:
    """The interrupt output of a UART without an interrupt."""


def create_device(options: DeviceOptions) -> Device:
    """The factory behind the name `pl011`. Option `enabled` (true): see `Pl011Device`. ConfigError for anything else."""
    table = DeviceTable(options, "pl011", ("enabled",))
    enabled = table.flag("enabled", default=True)
    return Pl011Device(options.console, options.irq, enabled=enabled, serve_register=options.serve_register)
