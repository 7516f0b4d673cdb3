"""What a PL011 tells of UARTFR and UARTDR: a guest whose accesses are served sees and sends what any other does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from avmm.clock import VirtualClock
from avmm.plugin import Console, Device, DeviceLock, DeviceOptions, IrqLine, ServedRegister, Width
from avmm.served import SERVES_READS, SERVES_WRITES
from avmm_uart import create_device
from avmm_uart.registers import CR_LBE, CR_RXE, CR_TXE, CR_UARTEN, INT_RX, INT_TX, LCR_H_FEN, Register

ON = CR_UARTEN | CR_TXE | CR_RXE


class Chip:
    """An interrupt controller with one input."""

    def __init__(self) -> None:
        self.changes: list[bool] = []

    def set_spi_level(self, number: int, level: bool) -> None:
        self.changes.append(level)


class Bench:
    """A UART of which a guest's accesses are served, as an engine does it, if `serves`."""

    def __init__(self, *, serves: bool) -> None:
        self._serves = serves
        self.sent, self.queue = b"", list[int]()
        self.served: dict[int, ServedRegister] = {}
        self.chip = Chip()
        lock = DeviceLock()
        self.console = Console(lock, self._write)
        irq = IrqLine(self.chip, 1, lock)
        options = DeviceOptions("uart", VirtualClock(), lock, self.console, irq, serve_register=self._serve)
        self.device: Device = create_device(options)

    def _write(self, data: bytes) -> None:
        self.sent += data

    def _serve(self, offset: int) -> ServedRegister:
        return self.served.setdefault(offset, ServedRegister())

    def told(self, register: Register) -> int:
        return self.served[register].words[0]

    def settle(self) -> None:
        values, self.queue = self.queue, []
        if values:
            self.device.write_coalesced(Register.DR, Width.W32, values)

    def read(self, register: Register) -> int:
        word = self.served[register].words[0] if register in self.served and self._serves else 0
        if word & SERVES_READS:
            return word & 0xFFFF_FFFF
        self.settle()
        return self.device.read(register, Width.W32)

    def write(self, register: Register, value: int) -> None:
        word = self.served[register].words[0] if register in self.served and self._serves else 0
        if word & SERVES_WRITES:
            self.queue.append(value)
        else:
            self.settle()
            self.device.write(register, Width.W32, value)


REGISTERS = st.sampled_from(
    [Register.DR, Register.FR, Register.CR, Register.LCR_H, Register.IFLS, Register.IMSC, Register.RIS, Register.ICR]
)
VALUES = st.sampled_from([0, 0x41, INT_TX, INT_RX, LCR_H_FEN, ON, ON | CR_LBE, CR_UARTEN | CR_RXE, 0xFFFF])
STEPS = st.lists(st.tuples(st.sampled_from(["read", "write", "input", "reset"]), REGISTERS, VALUES), max_size=60)


@given(STEPS)
def test_the_guest_sees_no_difference(steps: list[tuple[str, Register, int]]) -> None:
    plain, served = Bench(serves=False), Bench(serves=True)
    for what, register, value in steps:
        match what:
            case "read":
                assert plain.read(register) == served.read(register)
            case "write":
                plain.write(register, value)
                served.write(register, value)
                assert plain.chip.changes == served.chip.changes, "an interrupt waits in the queue"
            case "input":
                plain.console.input(b"xyz"[: value % 4])
                served.console.input(b"xyz"[: value % 4])
                assert plain.chip.changes == served.chip.changes
            case _:
                served.settle()  # a machine is reset with every vCPU outside
                plain.device.reset()
                served.device.reset()
    served.settle()
    assert plain.sent == served.sent
    assert plain.chip.changes == served.chip.changes


def test_a_console_without_interrupts_is_served_from_the_start() -> None:
    bench = Bench(serves=True)
    assert bench.told(Register.DR) == SERVES_WRITES
    assert bench.told(Register.FR) & SERVES_READS
    for character in b"hello":
        bench.write(Register.DR, character)
    assert bench.sent == b""
    bench.read(Register.CR)
    assert bench.sent == b"hello"


def test_a_character_does_not_wait_while_it_may_interrupt() -> None:
    bench = Bench(serves=True)
    bench.write(Register.IMSC, INT_TX)
    bench.write(Register.DR, 0x41)
    assert bench.sent == b"A"
    assert bench.chip.changes == [True]


def test_characters_that_were_queued_when_the_interrupt_was_enabled_raise_it() -> None:
    bench = Bench(serves=True)
    bench.write(Register.DR, 0x41)
    bench.write(Register.IMSC, INT_TX)
    assert (bench.sent, bench.chip.changes) == (b"A", [True])


def test_those_queued_when_the_transmitter_was_turned_off_wait_in_its_fifo() -> None:
    bench = Bench(serves=True)
    bench.device.write(Register.CR, Width.W32, CR_UARTEN)
    bench.device.write_coalesced(Register.DR, Width.W32, [0x41, 0x42])
    assert bench.sent == b""
    bench.write(Register.CR, ON)
    assert bench.sent == b"AB"


def test_input_shows_in_the_flags_at_once() -> None:
    bench = Bench(serves=True)
    before = bench.read(Register.FR)
    bench.console.input(b"x")
    assert bench.read(Register.FR) != before
    assert bench.read(Register.FR) == bench.device.read(Register.FR, Width.W32)
