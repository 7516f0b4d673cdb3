"""The PL011 against Arm DDI 0183 (r1p5), rule by rule, and against a guest that writes anything anywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.clock import VirtualClock
from avmm.plugin import ConfigError, Console, Device, DeviceLock, DeviceOptions, IrqLine, Width
from avmm_uart import Pl011, create_device
from avmm_uart.registers import (
    CR_CTSEN,
    CR_DTR,
    CR_LBE,
    CR_MASK,
    CR_OUT1,
    CR_OUT2,
    CR_RTS,
    CR_RXE,
    CR_TXE,
    CR_UARTEN,
    DR_BE,
    DR_OE,
    FIFO_DEPTH,
    FR_BUSY,
    FR_CTS,
    FR_DCD,
    FR_DSR,
    FR_RI,
    FR_RXFE,
    FR_RXFF,
    FR_TXFE,
    FR_TXFF,
    INT_BE,
    INT_CTS,
    INT_DCD,
    INT_DSR,
    INT_MASK,
    INT_OE,
    INT_RI,
    INT_RT,
    INT_RX,
    INT_TX,
    LCR_H_BRK,
    LCR_H_FEN,
    RSR_OE,
    Register,
)

ON = CR_UARTEN | CR_TXE | CR_RXE


class Bench:
    """A UART with something at each of its ends."""

    def __init__(self, cr: int = ON, lcr_h: int = LCR_H_FEN) -> None:
        self.sent = b""
        self.irq: list[bool] = []
        self.uart = Pl011(self._transmit, self.irq.append, cr=cr, lcr_h=lcr_h)

    def _transmit(self, data: bytes) -> None:
        self.sent += data

    def __getitem__(self, register: Register) -> int:
        return self.uart.read(register, 4)

    def __setitem__(self, register: Register, value: int) -> None:
        self.uart.write(register, 4, value)

    def read_all(self) -> bytes:
        data = bytearray()
        while not self[Register.FR] & FR_RXFE:
            data.append(self[Register.DR] & 0xFF)
        return bytes(data)


RESET_VALUES = {
    Register.DR: 0,
    Register.RSR_ECR: 0,
    Register.FR: FR_TXFE | FR_RXFE | FR_CTS | FR_DSR | FR_DCD,
    Register.ILPR: 0,
    Register.IBRD: 0,
    Register.FBRD: 0,
    Register.LCR_H: 0,
    Register.CR: 0x300,
    Register.IFLS: 0x12,
    Register.IMSC: 0,
    Register.RIS: 0,
    Register.MIS: 0,
    Register.ICR: 0,
    Register.DMACR: 0,
    Register.PERIPH_ID0: 0x11,
    Register.PERIPH_ID1: 0x10,
    Register.PERIPH_ID2: 0x34,
    Register.PERIPH_ID3: 0,
    Register.PCELL_ID0: 0x0D,
    Register.PCELL_ID1: 0xF0,
    Register.PCELL_ID2: 0x05,
    Register.PCELL_ID3: 0xB1,
}


@pytest.mark.parametrize("register", Register)
def test_every_register_has_its_reset_value(register: Register) -> None:
    uart = Pl011(lambda _data: None, lambda _level: None)
    assert uart.read(register, 4) == RESET_VALUES[register]


@pytest.mark.parametrize("register", Register)
def test_a_reset_undoes_everything(register: Register) -> None:
    bench = Bench(cr=0x300, lcr_h=0)
    for written in Register:
        bench[written] = 0xFFFF
    bench.uart.receive(b"x" * 40)
    bench.uart.reset()
    assert bench[register] == RESET_VALUES[register]
    assert bench.irq[-1:] in ([], [False])


@pytest.mark.parametrize(
    ("register", "kept"),
    [
        (Register.ILPR, 0xFF),
        (Register.IBRD, 0xFFFF),
        (Register.FBRD, 0x3F),
        (Register.LCR_H, 0xFF),
        (Register.CR, CR_MASK),
        (Register.IFLS, 0x3F),
        (Register.IMSC, 0x7FF),
        (Register.DMACR, 0x07),
    ],
)
def test_a_register_keeps_the_bits_it_has(register: Register, kept: int) -> None:
    bench = Bench()
    bench[register] = 0xFFFF_FFFF
    assert bench[register] == kept
    bench[register] = 0
    assert bench[register] == 0


@pytest.mark.parametrize("register", [Register.FR, Register.RIS, Register.MIS, Register.PERIPH_ID0, Register.PCELL_ID3])
def test_read_only_registers_ignore_writes(register: Register) -> None:
    bench = Bench()
    before = bench[register]
    bench[register] = ~before & 0xFFFF_FFFF
    assert bench[register] == before
    assert bench.uart.unknown_accesses == 0


@pytest.mark.parametrize("offset", [0x008, 0x01C, 0x04C, 0x080, 0x08C, 0xFDC, 0x001, 0x019, 0xFFD])
def test_where_there_is_no_register_reads_are_zero_writes_nothing_and_both_are_counted(offset: int) -> None:
    bench = Bench()
    assert bench.uart.read(offset, 1) == 0
    bench.uart.write(offset, 1, 0xFF)
    assert bench.uart.unknown_accesses == 2
    assert bench.sent == b""


def test_a_64_bit_access_is_two_32_bit_ones() -> None:
    bench = Bench()
    bench.uart.write(Register.FBRD, 8, 0x70 << 32 | 0x2A)
    assert (bench[Register.FBRD], bench[Register.LCR_H]) == (0x2A, 0x70)
    assert bench.uart.read(Register.FBRD, 8) == 0x70 << 32 | 0x2A


def test_the_fifos_are_as_deep_as_the_revision_says() -> None:
    """Linux takes 32 for granted from revision 3 on, and sends half of that for an interrupt without looking."""
    bench = Bench()
    assert bench[Register.PERIPH_ID2] >> 4 == 3
    assert bench.uart.room == FIFO_DEPTH == 32


class TestTransmit:
    def test_a_character_is_sent_at_once(self) -> None:
        bench = Bench()
        bench[Register.DR] = ord("a")
        bench.uart.write(Register.DR, 2, 0xFF00 | ord("b"))
        assert bench.sent == b"ab"
        assert bench.uart.transmitted == 2
        assert bench[Register.FR] & (FR_TXFE | FR_TXFF | FR_BUSY) == FR_TXFE

    @pytest.mark.parametrize("cr", [ON & ~CR_UARTEN, ON & ~CR_TXE])
    @pytest.mark.parametrize(("lcr_h", "depth"), [(LCR_H_FEN, FIFO_DEPTH), (0, 1)])
    def test_while_the_transmitter_is_off_characters_wait_in_the_fifo(self, cr: int, lcr_h: int, depth: int) -> None:
        bench = Bench(cr, lcr_h)
        for n in range(depth):
            assert not bench[Register.FR] & FR_TXFF
            bench[Register.DR] = n
        assert bench[Register.FR] & (FR_TXFE | FR_TXFF | FR_BUSY) == FR_TXFF | FR_BUSY
        bench[Register.DR] = 0xEE
        assert bench.uart.lost == 1
        bench[Register.CR] = ON
        assert bench.sent == bytes(range(depth))
        assert bench[Register.FR] & (FR_TXFE | FR_TXFF | FR_BUSY) == FR_TXFE

    def test_clearing_fen_flushes_the_transmit_fifo(self) -> None:
        bench = Bench(cr=0)
        bench[Register.DR] = 1
        bench[Register.LCR_H] = 0
        bench[Register.CR] = ON
        assert bench.sent == b""

    def test_the_interrupt_tells_of_a_transition_not_of_a_level(self) -> None:
        bench = Bench()
        assert not bench[Register.RIS] & INT_TX, "empty since reset is no transition"
        bench[Register.DR] = 1
        assert bench[Register.RIS] & INT_TX
        bench[Register.ICR] = INT_TX
        assert not bench[Register.RIS] & INT_TX

    @pytest.mark.parametrize(("ifls", "level"), [(0, 4), (1, 8), (2, 16), (3, 24), (4, 28), (7, 16)])
    def test_filling_beyond_the_trigger_level_clears_the_interrupt(self, ifls: int, level: int) -> None:
        bench = Bench()
        bench[Register.IFLS] = ifls
        bench[Register.DR] = 1
        bench[Register.CR] = 0
        for _ in range(level):
            bench[Register.DR] = 2
            assert bench[Register.RIS] & INT_TX
        bench[Register.DR] = 3
        assert not bench[Register.RIS] & INT_TX

    def test_with_cts_flow_control_it_waits_for_cts(self) -> None:
        bench = Bench(ON | CR_LBE | CR_CTSEN)
        bench[Register.DR] = 7
        assert bench[Register.FR] & FR_BUSY
        bench[Register.CR] = ON | CR_LBE | CR_CTSEN | CR_RTS
        assert bench[Register.DR] == 7


class TestReceive:
    def test_characters_come_in_order(self) -> None:
        bench = Bench()
        bench.uart.receive(b"hello")
        assert not bench[Register.FR] & FR_RXFE
        assert bench.read_all() == b"hello"
        assert bench.uart.received == 5

    @pytest.mark.parametrize(("lcr_h", "depth"), [(LCR_H_FEN, FIFO_DEPTH), (0, 1)])
    def test_room_counts_down_to_full(self, lcr_h: int, depth: int) -> None:
        bench = Bench(lcr_h=lcr_h)
        for n in range(depth):
            assert bench.uart.room == depth - n
            assert not bench[Register.FR] & FR_RXFF
            bench.uart.receive(b"x")
        assert bench.uart.room == 0
        assert bench[Register.FR] & FR_RXFF

    @pytest.mark.parametrize("cr", [ON & ~CR_UARTEN, ON & ~CR_RXE, ON | CR_LBE])
    def test_a_receiver_that_is_off_hears_nothing(self, cr: int) -> None:
        bench = Bench(cr)
        assert bench.uart.room == 0
        bench.uart.receive(b"lost")
        assert bench[Register.FR] & FR_RXFE
        assert bench.uart.lost == 4

    def test_an_overrun_keeps_the_fifo_and_marks_the_next_character_that_enters_it(self) -> None:
        bench = Bench()
        bench.uart.receive(bytes(range(FIFO_DEPTH)) + b"over")
        assert bench.uart.overruns == 4
        assert bench[Register.RSR_ECR] == RSR_OE
        assert bench[Register.RIS] & INT_OE
        assert bench[Register.DR] == 0
        bench.uart.receive(b"AB")
        assert [bench[Register.DR] for _ in range(FIFO_DEPTH - 1)] == list(range(1, FIFO_DEPTH))
        assert bench[Register.DR] == DR_OE | ord("A")
        assert bench[Register.FR] & FR_RXFE, "B found the FIFO full again"
        bench.uart.receive(b"CD")
        assert [bench[Register.DR] for _ in range(2)] == [DR_OE | ord("C"), ord("D")]

    def test_any_write_to_ecr_clears_the_overrun_status(self) -> None:
        bench = Bench()
        bench.uart.receive(b"x" * (FIFO_DEPTH + 1))
        bench[Register.RSR_ECR] = 0
        assert bench[Register.RSR_ECR] == 0
        assert bench[Register.RIS] & INT_OE, "the interrupt is cleared by UARTICR alone"

    @pytest.mark.parametrize(("ifls", "level"), [(0, 4), (1, 8), (2, 16), (3, 24), (4, 28), (7, 16)])
    def test_the_interrupt_comes_at_the_trigger_level_and_goes_below_it(self, ifls: int, level: int) -> None:
        bench = Bench()
        bench[Register.IFLS] = ifls << 3
        bench.uart.receive(b"x" * (level - 1))
        assert not bench[Register.RIS] & INT_RX
        bench.uart.receive(b"xx")
        assert bench[Register.RIS] & INT_RX
        bench[Register.DR]
        assert bench[Register.RIS] & INT_RX
        bench[Register.DR]
        assert not bench[Register.RIS] & INT_RX

    def test_without_fifos_one_character_is_the_trigger(self) -> None:
        bench = Bench(lcr_h=0)
        bench.uart.receive(b"x")
        assert bench[Register.RIS] & INT_RX
        bench[Register.DR]
        assert not bench[Register.RIS] & (INT_RX | INT_RT)

    def test_the_timeout_comes_for_less_than_the_trigger_and_goes_with_the_last_character(self) -> None:
        bench = Bench()
        bench.uart.receive(b"ab")
        assert bench[Register.RIS] & (INT_RX | INT_RT) == INT_RT
        bench[Register.DR]
        assert bench[Register.RIS] & INT_RT
        bench[Register.DR]
        assert not bench[Register.RIS] & INT_RT

    def test_an_empty_fifo_reads_zero(self) -> None:
        assert Bench()[Register.DR] == 0


class TestInterrupt:
    def test_the_output_is_any_raw_interrupt_that_is_not_masked(self) -> None:
        bench = Bench()
        bench.uart.receive(b"x")
        assert bench.irq == []
        bench[Register.IMSC] = INT_RT
        assert bench[Register.MIS] == INT_RT
        assert bench.irq == [True]
        bench[Register.IMSC] = 0
        assert bench[Register.MIS] == 0
        assert bench.irq == [True, False]

    def test_only_changes_are_told(self) -> None:
        bench = Bench()
        bench[Register.IMSC] = INT_TX | INT_RT
        for _ in range(3):
            bench[Register.DR] = 1
            bench.uart.receive(b"x")
        assert bench.irq == [True]
        bench[Register.ICR] = INT_TX
        assert bench.irq == [True]
        bench[Register.ICR] = INT_MASK
        assert bench.irq == [True, False]

    def test_icr_clears_the_bits_written_as_one_and_reads_zero(self) -> None:
        bench = Bench()
        bench[Register.DR] = 1
        bench.uart.receive(b"x" * (FIFO_DEPTH + 1))
        bench[Register.ICR] = INT_OE | INT_RX
        assert bench[Register.RIS] == INT_TX | INT_RT
        assert bench[Register.ICR] == 0

    def test_a_reset_lowers_the_output(self) -> None:
        bench = Bench()
        bench[Register.IMSC] = INT_MASK
        bench[Register.DR] = 1
        bench.uart.reset()
        assert bench.irq == [True, False]


class TestLoopback:
    def test_what_is_sent_is_received_and_nothing_leaves(self) -> None:
        bench = Bench(ON | CR_LBE)
        for character in b"echo":
            bench[Register.DR] = character
        assert bench.read_all() == b"echo"
        assert bench.sent == b""

    @pytest.mark.parametrize(
        ("output", "flag", "interrupt"),
        [(CR_RTS, FR_CTS, INT_CTS), (CR_DTR, FR_DSR, INT_DSR), (CR_OUT1, FR_DCD, INT_DCD), (CR_OUT2, FR_RI, INT_RI)],
    )
    def test_each_modem_output_is_an_input_and_its_change_an_interrupt(self, output: int, flag: int, interrupt: int) -> None:
        bench = Bench(ON | CR_LBE)
        assert not bench[Register.FR] & flag
        bench[Register.CR] = ON | CR_LBE | output
        assert bench[Register.FR] & (FR_CTS | FR_DSR | FR_DCD | FR_RI) == flag
        assert bench[Register.RIS] == interrupt


class TestBreak:
    def test_in_loopback_it_is_one_character_with_its_error(self) -> None:
        bench = Bench(ON | CR_LBE)
        bench[Register.LCR_H] = LCR_H_FEN | LCR_H_BRK
        bench[Register.LCR_H] = LCR_H_FEN | LCR_H_BRK  # the same break still
        assert bench[Register.RIS] == INT_BE | INT_RT
        assert bench[Register.RSR_ECR] == 0, "UARTRSR speaks of the character read last"
        assert (bench[Register.DR], bench[Register.RSR_ECR]) == (DR_BE, DR_BE >> 8)
        assert bench[Register.FR] & FR_RXFE
        assert bench[Register.RIS] == INT_BE, "until UARTICR clears it"

    @pytest.mark.parametrize("clear", [lambda bench: bench.__setitem__(Register.RSR_ECR, 0), lambda bench: bench[Register.DR]])
    def test_its_status_goes_by_a_write_to_ecr_or_with_the_next_character(self, clear: Callable[[Bench], object]) -> None:
        bench = Bench(ON | CR_LBE)
        bench[Register.LCR_H] = LCR_H_FEN | LCR_H_BRK
        bench[Register.DR] = ord("x")
        assert bench[Register.DR] == DR_BE
        clear(bench)
        assert bench[Register.RSR_ECR] == 0

    def test_each_one_anew(self) -> None:
        bench = Bench(ON | CR_LBE)
        for lcr_h in (LCR_H_BRK, 0) * 3:
            bench[Register.LCR_H] = LCR_H_FEN | lcr_h
        assert [bench[Register.DR] for _ in range(4)] == [DR_BE] * 3 + [0]

    def test_loopback_that_begins_during_one_sees_it(self) -> None:
        bench = Bench(lcr_h=LCR_H_FEN | LCR_H_BRK)
        assert bench[Register.FR] & FR_RXFE
        bench[Register.CR] = ON | CR_LBE
        assert bench[Register.DR] == DR_BE

    def test_a_receiver_that_is_off_does_not(self) -> None:
        bench = Bench(CR_LBE | CR_UARTEN, lcr_h=LCR_H_FEN)
        bench[Register.LCR_H] = LCR_H_FEN | LCR_H_BRK
        assert (bench[Register.DR], bench[Register.RIS], bench.uart.lost) == (0, 0, 0)

    def test_it_leaves_the_status_of_an_overrun(self) -> None:
        bench = Bench(ON | CR_LBE)
        for _ in range(FIFO_DEPTH + 1):
            bench[Register.DR] = 1
        bench[Register.DR]
        assert bench[Register.RSR_ECR] == RSR_OE
        bench[Register.LCR_H] = LCR_H_FEN | LCR_H_BRK
        assert [bench[Register.DR] for _ in range(FIFO_DEPTH)] == [1] * (FIFO_DEPTH - 1) + [DR_BE | DR_OE]
        assert bench[Register.RSR_ECR] == RSR_OE | DR_BE >> 8


class TestFifoEnable:
    """UARTLCR_H.FEN."""

    @pytest.mark.parametrize("fen", [0, LCR_H_FEN])
    def test_a_change_empties_both_and_what_told_of_them(self, fen: int) -> None:
        bench = Bench(CR_UARTEN | CR_RXE, lcr_h=fen)
        bench[Register.IMSC] = INT_MASK
        bench.uart.receive(b"x")
        bench[Register.DR] = ord("y")
        bench[Register.LCR_H] = fen ^ LCR_H_FEN
        assert bench[Register.FR] & (FR_RXFE | FR_RXFF | FR_TXFE | FR_TXFF | FR_BUSY) == FR_RXFE | FR_TXFE
        assert (bench[Register.RIS], bench.irq) == (0, [True, False])
        assert bench.uart.room == (1 if fen else FIFO_DEPTH)

    @pytest.mark.parametrize("fen", [0, LCR_H_FEN])
    def test_anything_else_in_the_register_empties_nothing(self, fen: int) -> None:
        bench = Bench(lcr_h=fen)
        bench.uart.receive(b"x")
        bench[Register.LCR_H] = fen | 0x60
        assert bench[Register.DR] == ord("x")


ACCESSES = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 0xFFF), st.sampled_from([1, 2, 4, 8]), st.just(0)),
        st.tuples(
            st.just("write"),
            st.one_of(st.integers(0, 0xFFF), st.sampled_from([int(register) for register in Register])),
            st.sampled_from([1, 2, 4, 8]),
            st.integers(0, 2**64 - 1),
        ),
        st.tuples(st.just("receive"), st.integers(0, 40), st.just(1), st.just(0)),
        st.tuples(st.just("reset"), st.just(0), st.just(1), st.just(0)),
    ),
    max_size=60,
)


@given(ACCESSES)
def test_whatever_a_guest_does_the_registers_stay_consistent(accesses: list[tuple[str, int, int, int]]) -> None:
    bench = Bench()
    for kind, offset, width, value in accesses:
        if kind == "read":
            assert 0 <= bench.uart.read(offset, width) < 1 << max(32, 8 * width)
        elif kind == "write":
            bench.uart.write(offset, width, value & ((1 << 8 * width) - 1))
        elif kind == "receive":
            bench.uart.receive(bytes(offset))
        else:
            bench.uart.reset()
        flags, raw, masked = bench[Register.FR], bench[Register.RIS], bench[Register.MIS]
        assert 0 <= flags < 1 << 9
        assert not (flags & FR_RXFE and flags & FR_RXFF)
        assert bool(flags & FR_TXFE) != bool(flags & FR_BUSY)
        assert raw & ~INT_MASK == 0
        assert masked == raw & bench[Register.IMSC]
        assert (bench.irq[-1] if bench.irq else False) == bool(masked)
        assert not (flags & FR_RXFE and raw & (INT_RX | INT_RT)), "nothing to receive"
        for register in Register:
            if register != Register.DR:
                assert 0 <= bench[register] <= 0xFFFF


@given(st.binary(max_size=64), st.booleans())
def test_nothing_sent_or_received_is_changed_or_lost_on_the_way(data: bytes, fifos: bool) -> None:
    bench = Bench(lcr_h=LCR_H_FEN if fifos else 0)
    taken, left = b"", data
    while left:
        chunk, left = left[: bench.uart.room], left[bench.uart.room :]
        bench.uart.receive(chunk)
        taken += bench.read_all()
    for character in data:
        bench[Register.DR] = character
    assert taken == data == bench.sent
    assert bench.uart.overruns == bench.uart.lost == 0


class Chip:
    """An interrupt controller that remembers its inputs."""

    def __init__(self) -> None:
        self.levels: dict[int, bool] = {}

    def set_spi_level(self, number: int, level: bool) -> None:
        self.levels[number] = level


class Board:
    """What a machine gives to a device."""

    def __init__(self) -> None:
        self.lock = DeviceLock()
        self.chip = Chip()
        self.output = bytearray()
        self.console = Console(self.lock, self.output.extend)
        self.clock = VirtualClock()

    def make(self, **options: object) -> Device:
        irq = IrqLine(self.chip, 1, self.lock)
        return create_device(DeviceOptions("uart0", self.clock, self.lock, self.console, irq, options))


def figures(device: Device) -> dict[str, object]:
    return {" ".join([figure.name, *figure.labels.values()]): value for figure, value in device.figures()}


@pytest.fixture
def board() -> Board:
    return Board()


class TestDevice:
    def test_it_is_a_console_that_is_on_from_the_start(self, board: Board) -> None:
        device = board.make()
        device.write(0, Width.W8, ord("!"))
        assert board.output == b"!"
        board.console.input(b"?")
        assert device.read(0, Width.W32) == ord("?")

    def test_it_can_come_out_of_reset_as_the_hardware_does(self, board: Board) -> None:
        device = board.make(enabled=False)
        assert device.read(Register.CR, Width.W32) == 0x300
        board.console.input(b"kept")
        device.write(Register.CR, Width.W32, ON)
        assert bytes(device.read(0, Width.W32) for _ in range(4)) == b"kept"

    def test_input_waits_for_the_guest_and_none_is_lost(self, board: Board) -> None:
        device = board.make()
        data = bytes(range(256)) * 4
        board.console.input(data)
        assert bytes(device.read(0, Width.W32) for _ in range(len(data))) == data
        assert device.read(Register.FR, Width.W32) & FR_RXFE
        assert device.read(Register.RSR_ECR, Width.W32) == 0

    def test_what_a_guest_does_not_read_is_bounded_and_not_lost(self, board: Board) -> None:
        device = board.make(enabled=False)
        data = bytes(range(256)) * 256
        assert board.console.input(data + b"beyond") == len(data)
        device.write(Register.CR, Width.W32, ON)
        assert board.console.room == 1, "the FIFO is off, and holds one character"
        assert bytes(device.read(0, Width.W32) for _ in range(len(data))) == data
        assert figures(device)["uart_bytes received"] == len(data)

    def test_it_counts_what_went_through_and_what_went_wrong(self, board: Board) -> None:
        device = board.make()
        for character in b"abc":
            device.write(0, Width.W8, character)
        board.console.input(b"de")
        device.read(0x900, Width.W32)
        device.write(Register.CR, Width.W32, 0)
        for _ in range(FIFO_DEPTH + 1):
            device.write(0, Width.W8, 0)
        assert figures(device) == {
            "uart_bytes transmitted": 3,
            "uart_bytes received": 2,
            "uart_lost_bytes overrun": 0,
            "uart_lost_bytes off": 1,
            "uart_unknown_accesses": 1,
        }

    def test_the_interrupt_reaches_the_controller(self, board: Board) -> None:
        device = board.make()
        device.write(Register.IMSC, Width.W32, INT_RT | INT_RX)
        board.console.input(b"x")
        assert board.chip.levels == {1: True}
        device.read(0, Width.W32)
        assert board.chip.levels == {1: False}

    def test_a_reset_forgets_what_was_typed(self, board: Board) -> None:
        device = board.make()
        board.console.input(bytes(100))
        device.reset()
        assert device.read(Register.FR, Width.W32) & FR_RXFE
        assert board.console.room == board.console.LIMIT

    @pytest.mark.parametrize("options", [{"baud": 9600}, {"enabled": "yes"}])
    def test_a_mistake_in_its_options_is_a_config_error(self, board: Board, options: dict[str, object]) -> None:
        with pytest.raises(ConfigError) as caught:
            board.make(**options)
        assert caught.value.key == f"devices.uart0.{next(iter(options))}"

    def test_it_runs_without_an_interrupt(self, board: Board) -> None:
        device = create_device(DeviceOptions("uart0", board.clock, board.lock, board.console))
        device.write(Register.IMSC, Width.W32, INT_TX)
        device.write(0, Width.W32, ord("x"))
        assert board.output == b"x"
