"""The register model of the PL011 (Arm DDI 0183, r1p5): state and rules, and no input or output of its own.

There is no line here, so nothing takes time: a character that may be sent is sent at once, the receive timeout comes as soon as
the line falls silent, and baud rate, word length and parity have no effect. A break is seen in loopback and nowhere else. DMA,
the IrDA encoder and the integration test registers are not there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from avmm_uart.modem import MODEM, MODEM_FLAGS, modem_inputs
from avmm_uart.registers import (
    CR_CTSEN,
    CR_LBE,
    CR_MASK,
    CR_RESET,
    CR_RXE,
    CR_TXE,
    CR_UARTEN,
    DR_BE,
    DR_OE,
    FIFO_DEPTH,
    FR_BUSY,
    FR_CTS,
    FR_RXFE,
    FR_RXFF,
    FR_TXFE,
    FR_TXFF,
    IDENTIFICATION,
    IFLS_MASK,
    IFLS_RESET,
    INT_BE,
    INT_MASK,
    INT_OE,
    INT_RT,
    INT_RX,
    INT_TX,
    LCR_H_BRK,
    LCR_H_FEN,
    LCR_H_MASK,
    RSR_OE,
    RSR_OF_CHARACTER,
    STORED,
    TRIGGER_LEVELS,
    Register,
)

_W64 = 8

# Plain integers for what every character goes through.
_DR, _FR, _RIS, _IMSC, _MIS = map(int, (Register.DR, Register.FR, Register.RIS, Register.IMSC, Register.MIS))


class Pl011:
    """One UART. Owner: whoever calls it, one call at a time.

    `transmit` is called with each run of bytes the guest sends, `set_irq` with each change of UARTINTR, the combined interrupt;
    neither may call back. `cr` and `lcr_h` are those registers' values after a reset: the reset values of the manual, unless
    there is to be something that firmware has left behind.
    """

    __slots__ = (
        "_breaking", "_cr_at_reset", "_depth", "_irq", "_lcr_h_at_reset", "_overrun", "_receive_fifo", "_registers", "_sends",
        "_set_irq", "_transmit", "_transmit_fifo", "lost", "overruns", "received", "transmitted", "unknown_accesses",
    )  # fmt: skip

    def __init__(
        self, transmit: Callable[[bytes], object], set_irq: Callable[[bool], object], *, cr: int = CR_RESET, lcr_h: int = 0
    ) -> None:
        self._transmit, self._set_irq = transmit, set_irq
        self._cr_at_reset, self._lcr_h_at_reset = cr & CR_MASK, lcr_h & LCR_H_MASK
        self._irq = False
        self.transmitted = self.received = 0
        self.overruns = 0
        """Characters that came when the receive FIFO was full."""
        self.lost = 0
        """Characters that came with the receiver off, and those written to a full transmit FIFO."""
        self.unknown_accesses = 0
        """Accesses to offsets where there is no register."""
        self._receive_fifo: deque[int] = deque()
        self._transmit_fifo = bytearray()
        self._registers: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        """UARTRST: every register takes its reset value (table 3-1), both FIFOs are empty, the interrupt is low."""
        self._receive_fifo.clear()
        self._transmit_fifo.clear()
        self._overrun = self._breaking = False
        # What a read of each register answers, kept up to date by whoever changes it; only UARTDR is read by code.
        self._registers = {
            **dict.fromkeys(map(int, Register), 0),
            **IDENTIFICATION,
            Register.LCR_H: self._lcr_h_at_reset,
            Register.CR: self._cr_at_reset,
            Register.IFLS: IFLS_RESET,
        }
        self._depth = FIFO_DEPTH if self._lcr_h_at_reset & LCR_H_FEN else 1
        self._registers[Register.FR] = modem_inputs(self._cr_at_reset)
        self._sends = self._transmitting(self._cr_at_reset) and not self._cr_at_reset & CR_LBE
        self._update_flags()
        self._update_irq()

    def read(self, offset: int, width: int) -> int:
        """The register at byte `offset`; `width` is 1, 2, 4 or 8 bytes. A 64-bit access is two 32-bit ones, low word first."""
        if width == _W64:
            return self.read(offset, 4) | self.read(offset + 4, 4) << 32
        if offset == _DR:
            return self._read_data()
        value = self._registers.get(offset)
        if value is None:
            self.unknown_accesses += 1
            return 0
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        """Write `value` to the register at byte `offset`. Registers know no width: a narrow value is extended by zeros."""
        if width == _W64:
            self.write(offset, 4, value & 0xFFFF_FFFF)
            self.write(offset + 4, 4, value >> 32)
        elif offset == _DR:
            self._write_data(value & 0xFF)
        elif offset in self._registers:
            self._write_register(Register(offset), value)
        else:
            self.unknown_accesses += 1

    def write_run(self, characters: Sequence[int]) -> None:
        """Write UARTDR with each of `characters`, in order."""
        if self._sends:
            self._send(bytes([character & 0xFF for character in characters]))
        else:
            for character in characters:
                self._write_data(character & 0xFF)

    @property
    def flags(self) -> int:
        """UARTFR, of which a read changes nothing."""
        return self._registers[_FR]

    @property
    def sends_in_silence(self) -> bool:
        """True while a write to UARTDR sends a character and changes nothing that the guest sees but UARTRIS and UARTMIS."""
        return self._sends and not self._registers[_IMSC] & INT_TX

    def receive(self, data: bytes) -> None:
        """Characters arrive on the line, then it falls silent. Those the receiver cannot take are lost, as on a real line."""
        if self._registers[Register.CR] & CR_LBE:
            self.lost += len(data)  # UARTRXD is disconnected
            return
        for character in data:
            self._receive(character)
        self._update_flags()
        self._update_irq()

    @property
    def room(self) -> int:
        """How many characters `receive` would take now without losing any."""
        cr = self._registers[Register.CR]
        if cr & CR_LBE or not self._receiving(cr):
            return 0
        return self._depth - len(self._receive_fifo)

    def _write_register(self, register: Register, value: int) -> None:
        registers = self._registers
        match register:
            case Register.RSR_ECR:
                registers[register] = 0  # any value clears all errors
            case Register.LCR_H:
                self._set_line_control(value & LCR_H_MASK)
            case Register.CR:
                self._set_control(value & CR_MASK)
            case Register.IFLS:
                registers[register] = value & IFLS_MASK
            case Register.IMSC:
                registers[register] = value & INT_MASK
            case Register.ICR:
                registers[Register.RIS] &= ~value
            case Register.ILPR | Register.IBRD | Register.FBRD | Register.DMACR:
                registers[register] = value & STORED[register]
            case _:
                return  # read-only
        self._update_flags()
        self._update_irq()

    def _read_data(self) -> int:
        """UARTDR: the oldest character, with its error bits, of which UARTRSR speaks from now on ("Data register, UARTDR")."""
        registers, fifo = self._registers, self._receive_fifo
        if not fifo:
            return 0
        character = fifo.popleft()
        # Reading below the trigger level clears RX, reading the last character clears RT ("Interrupts").
        clear = (INT_RT if not fifo else 0) | (INT_RX if len(fifo) < self._receive_trigger() else 0)
        registers[Register.RIS] &= ~clear
        registers[Register.RSR_ECR] = registers[Register.RSR_ECR] & RSR_OE | character >> 8 & RSR_OF_CHARACTER
        self._update_flags()
        self._update_irq()
        return character

    def _write_data(self, character: int) -> None:
        if self._sends:
            self._send(bytes((character,)))
            return
        if len(self._transmit_fifo) == self._depth:
            self.lost += 1
            return
        self._transmit_fifo.append(character)
        if len(self._transmit_fifo) > self._transmit_trigger():
            self._registers[Register.RIS] &= ~INT_TX
        self._drain()
        self._update_flags()
        self._update_irq()

    def _send(self, data: bytes) -> None:
        """While `_sends` holds the FIFO is empty, and each character goes through it in no time."""
        self._registers[_RIS] |= INT_TX
        self.transmitted += len(data)
        self._transmit(data)
        self._update_irq()

    def _drain(self) -> None:
        """Send what may be sent. What leaves the FIFO takes it through its trigger level, which is what TX tells of."""
        cr = self._registers[Register.CR]
        if not self._transmit_fifo or not self._transmitting(cr):
            return
        data = bytes(self._transmit_fifo)
        self._transmit_fifo.clear()
        self._registers[Register.RIS] |= INT_TX
        self.transmitted += len(data)
        if cr & CR_LBE:
            for character in data:
                self._receive(character)
        else:
            self._transmit(data)

    def _receive(self, character: int) -> None:
        registers, fifo = self._registers, self._receive_fifo
        if not self._receiving(registers[Register.CR]):
            self.lost += 1
            return
        if len(fifo) == self._depth:
            # The shift register is overwritten, the FIFO is not; the next character to enter it carries the mark
            # ("Receive FIFO", overrun bit).
            self._overrun = True
            self.overruns += 1
            registers[Register.RSR_ECR] |= RSR_OE
            registers[Register.RIS] |= INT_OE
            return
        fifo.append(character | (DR_OE if self._overrun else 0))
        self._overrun = False
        self.received += 1
        registers[Register.RIS] |= INT_BE if character & DR_BE else 0
        registers[Register.RIS] |= INT_RT | (INT_RX if len(fifo) >= self._receive_trigger() else 0)

    def _set_line_control(self, value: int) -> None:
        """UARTLCR_H: FEN turns the FIFOs into single holding registers and back, and either way empties them."""
        if (value ^ self._registers[Register.LCR_H]) & LCR_H_FEN:
            self._transmit_fifo.clear()
            self._receive_fifo.clear()
            self._registers[Register.RIS] &= ~(INT_RX | INT_RT)
            self._depth = FIFO_DEPTH if value & LCR_H_FEN else 1
        self._registers[Register.LCR_H] = value
        self._loop_break()

    def _set_control(self, value: int) -> None:
        registers = self._registers
        registers[Register.CR] = value
        before, after = registers[Register.FR], modem_inputs(value)
        for flag, interrupt in MODEM.items():
            if (before ^ after) & flag:
                registers[Register.RIS] |= interrupt
        registers[Register.FR] = after
        self._sends = self._transmitting(value) and not value & CR_LBE
        self._drain()
        self._loop_break()

    def _loop_break(self) -> None:
        """A break (UARTLCR_H.BRK) that begins in loopback: the receiver sees one character, zero, with its error bit."""
        cr, before = self._registers[Register.CR], self._breaking
        self._breaking = bool(cr & CR_LBE and self._registers[Register.LCR_H] & LCR_H_BRK and self._receiving(cr))
        if self._breaking and not before:
            self._receive(DR_BE)

    def _receiving(self, cr: int) -> bool:
        return cr & (CR_UARTEN | CR_RXE) == CR_UARTEN | CR_RXE

    def _transmitting(self, cr: int) -> bool:
        if cr & (CR_UARTEN | CR_TXE) != CR_UARTEN | CR_TXE:
            return False
        return not cr & CR_CTSEN or bool(self._registers[Register.FR] & FR_CTS)

    def _receive_trigger(self) -> int:
        return 1 if self._depth == 1 else TRIGGER_LEVELS[self._registers[Register.IFLS] >> 3]

    def _transmit_trigger(self) -> int:
        return 0 if self._depth == 1 else TRIGGER_LEVELS[self._registers[Register.IFLS] & 7]

    def _update_flags(self) -> None:
        received, waiting, depth = len(self._receive_fifo), len(self._transmit_fifo), self._depth
        self._registers[Register.FR] = (
            self._registers[Register.FR] & MODEM_FLAGS
            | (FR_RXFE if not received else 0)
            | (FR_RXFF if received == depth else 0)
            | (FR_TXFE if not waiting else FR_BUSY)
            | (FR_TXFF if waiting == depth else 0)
        )

    def _update_irq(self) -> None:
        masked = self._registers[_RIS] & self._registers[_IMSC]
        self._registers[_MIS] = masked
        if bool(masked) != self._irq:
            self._irq = bool(masked)
            self._set_irq(self._irq)
