"""The PL061 against Arm DDI 0190, and as a machine's power button in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.clock import VirtualClock
from avmm.plugin import ConfigError, Console, DeviceLock, DeviceOptions, IrqLine, Width
from avmm_gpio import Pl061Device, create_device
from avmm_gpio.device import HELD_NS, POWER_BUTTON
from avmm_gpio.pl061 import Pl061, Register

ALL_PINS = 0x3FC
"""The address of GPIODATA that is about all pins."""
BUTTON = 1 << POWER_BUTTON
STORED = (Register.DIR, Register.IS, Register.IBE, Register.IEV, Register.IE, Register.AFSEL)


class Chip:
    def __init__(self) -> None:
        self.levels: list[bool] = []

    def set_spi_level(self, number: int, level: bool) -> None:
        assert number == 7
        self.levels.append(level)

    @property
    def irq(self) -> bool:
        return bool(self.levels) and self.levels[-1]


class Pins:
    """The model alone."""

    def __init__(self) -> None:
        self.irq = False
        self.model = Pl061(self._set_irq)
        self.read, self.write = self.model.read, self.model.write

    def _set_irq(self, level: bool) -> None:
        assert level != self.irq, "told only of changes"
        self.irq = level

    def drive(self, *levels: int, pin: int = 0) -> None:
        for level in levels:
            self.model.set_line(pin, high=bool(level))

    def status(self) -> tuple[int, int, bool]:
        return self.read(Register.RIS), self.read(Register.MIS), self.irq


@pytest.fixture
def pins() -> Pins:
    return Pins()


class TestRegisters:
    def test_it_identifies_itself(self, pins: Pins) -> None:
        """3.3.11 and 3.3.12."""
        assert [pins.read(offset) for offset in range(0xFE0, 0x1000, 4)] == [0x61, 0x10, 0x04, 0x00, 0x0D, 0xF0, 0x05, 0xB1]

    @pytest.mark.parametrize("register", Register)
    def test_everything_is_clear_after_reset(self, pins: Pins, register: Register) -> None:
        """Table 3-1."""
        for one in Register:
            pins.write(one, 0xFF)
        pins.write(ALL_PINS, 0xFF)
        pins.drive(1, 0)
        pins.model.reset()
        assert (pins.read(register), pins.read(ALL_PINS), pins.irq) == (0, 0, False)

    @pytest.mark.parametrize("register", STORED)
    def test_a_register_keeps_eight_bits(self, pins: Pins, register: Register) -> None:
        pins.write(register, 0xFFFF_FFFF)
        assert pins.read(register) == 0xFF
        pins.write(register, 0xA5)
        assert [pins.read(one) for one in STORED if one is not register] == [0] * 5
        assert pins.read(register) == 0xA5

    @pytest.mark.parametrize("offset", [Register.RIS, Register.MIS, 0x001, 0x3FD, 0x402, 0x424, 0xFDC, *range(0xFE0, 0x1000, 4)])
    def test_what_is_read_only_or_not_there_ignores_writes(self, pins: Pins, offset: int) -> None:
        pins.write(Register.DIR, 0x0F)
        before = pins.read(offset)
        pins.write(offset, 0xFFFF_FFFF)
        assert (pins.read(offset), pins.read(ALL_PINS), pins.read(Register.DIR)) == (before, 0, 0x0F)

    def test_the_interrupt_clear_register_is_write_only(self, pins: Pins) -> None:
        pins.write(Register.IC, 0xFF)
        assert pins.read(Register.IC) == 0


class TestData:
    """3.3.1: bits 9 to 2 of the address are a mask, for reads and for writes."""

    @pytest.mark.parametrize("mask", [0, 0x01, 0x80, 0x5A, 0xFF])
    def test_a_write_changes_the_pins_of_its_mask_and_no_others(self, pins: Pins, mask: int) -> None:
        pins.write(Register.DIR, 0xFF)
        pins.write(ALL_PINS, 0xC3)
        pins.write(mask << 2, 0x3C)
        assert pins.read(ALL_PINS) == 0xC3 & ~mask | 0x3C & mask

    @pytest.mark.parametrize("mask", [0, 0x01, 0x80, 0x5A, 0xFF])
    def test_a_read_gives_the_pins_of_its_mask_and_zeros(self, pins: Pins, mask: int) -> None:
        pins.write(Register.DIR, 0xFF)
        pins.write(ALL_PINS, 0xC3)
        assert pins.read(mask << 2) == 0xC3 & mask

    def test_an_input_reads_its_line_and_an_output_what_was_written(self, pins: Pins) -> None:
        pins.drive(1, pin=1)
        pins.drive(1, pin=4)
        pins.write(Register.DIR, 0xF0)
        pins.write(ALL_PINS, 0x60)
        assert pins.read(ALL_PINS) == 0x62

    def test_a_pin_takes_a_value_only_while_it_is_an_output(self, pins: Pins) -> None:
        pins.write(ALL_PINS, 0xFF)
        pins.write(Register.DIR, 0x0F)
        assert pins.read(ALL_PINS) == 0
        pins.write(ALL_PINS, 0x05)
        pins.write(Register.DIR, 0x00)
        pins.write(ALL_PINS, 0x00)
        pins.write(Register.DIR, 0x0F)
        assert pins.read(ALL_PINS) == 0x05


class TestInterrupts:
    """3.3.3 to 3.3.9."""

    @pytest.mark.parametrize(
        ("both", "rising", "levels", "raw"),
        [
            (0, 0, (1,), 0),
            (0, 0, (1, 0), 1),
            (0, 1, (1,), 1),
            (1, 0, (1,), 1),
            (1, 1, (1,), 1),
            (0, 1, (0, 0), 0),
        ],
    )
    def test_the_edge_that_is_asked_for(self, pins: Pins, both: int, rising: int, levels: tuple[int, ...], raw: int) -> None:
        pins.write(Register.IBE, both)
        pins.write(Register.IEV, rising)
        pins.write(Register.IE, 1)
        pins.drive(*levels)
        assert pins.status() == (raw, raw, bool(raw))

    @pytest.mark.parametrize(("both", "raw"), [(0, 0), (1, 1)])
    def test_the_other_edge_counts_when_both_do(self, pins: Pins, both: int, raw: int) -> None:
        pins.drive(1)
        pins.write(Register.IEV, 1)
        pins.write(Register.IBE, both)
        pins.drive(0)
        assert pins.read(Register.RIS) == raw

    def test_an_edge_stays_until_it_is_cleared(self, pins: Pins) -> None:
        pins.write(Register.IBE, 0x03)
        pins.write(Register.IE, 0x03)
        pins.drive(1, 0, 1)
        pins.drive(1, pin=1)
        assert pins.status() == (3, 3, True)
        pins.write(Register.IC, 0x01)
        assert pins.status() == (2, 2, True)
        pins.write(Register.IC, 0x02)
        assert pins.status() == (0, 0, False)

    @pytest.mark.parametrize(("high", "other"), [(1, 0), (0, 1)])
    def test_a_level_interrupts_as_long_as_it_lasts(self, pins: Pins, high: int, other: int) -> None:
        pins.drive(other)
        pins.write(Register.IEV, high)
        pins.write(Register.IS, 1)
        pins.write(Register.IE, 1)
        assert pins.status() == (0, 0, False)
        pins.drive(high)
        pins.write(Register.IC, 1)
        assert pins.status() == (1, 1, True), "there is nothing to clear of a level"
        pins.drive(other)
        assert pins.status() == (0, 0, False)

    def test_the_mask_holds_back_the_line_and_not_the_status(self, pins: Pins) -> None:
        pins.write(Register.IEV, 1)
        pins.drive(1)
        assert pins.status() == (1, 0, False)
        pins.write(Register.IE, 1)
        assert pins.status() == (1, 1, True)
        pins.write(Register.IE, 0xFE)
        assert pins.status() == (1, 0, False)

    @pytest.mark.parametrize("sense", [0, 1])
    def test_an_output_does_not_interrupt(self, pins: Pins, sense: int) -> None:
        pins.write(Register.DIR, 1)
        pins.write(Register.IS, sense)
        pins.write(Register.IEV, 1)
        pins.write(Register.IE, 1)
        pins.drive(1)
        pins.write(ALL_PINS, 1)
        assert pins.status() == (0, 0, False)

    def test_a_pin_that_detects_levels_keeps_no_edge(self, pins: Pins) -> None:
        pins.write(Register.IS, 1)
        pins.write(Register.IEV, 1)
        pins.drive(1, 0)
        pins.write(Register.IS, 0)
        assert pins.read(Register.RIS) == 0


class Bench:
    """A controller whose interrupt is SPI 7, in virtual time."""

    def __init__(self, table: dict[str, object] | None = None) -> None:
        self.clock, self.chip = VirtualClock(), Chip()
        self.lock = DeviceLock()
        line = IrqLine(self.chip, 7, self.lock)
        device = create_device(DeviceOptions("gpio0", self.clock, self.lock, Console(self.lock), line, table or {}))
        assert isinstance(device, Pl061Device)
        self.device = device

    def listen(self) -> None:
        """What Linux's driver asks for: both edges of the button."""
        for register in (Register.IBE, Register.IE):
            self.device.write(register, Width.W32, BUTTON)

    def press(self) -> None:
        with self.lock:
            self.device.power_button()

    def look(self) -> bool:
        return self.device.read(BUTTON << 2, Width.W32) == BUTTON

    def clear(self) -> bool:
        """Take the interrupt; whether there was one."""
        pending = self.device.read(Register.MIS, Width.W32) == BUTTON
        self.device.write(Register.IC, Width.W32, BUTTON)
        return pending


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestPowerButton:
    def test_a_press_is_an_edge_then_a_level_then_the_other_edge(self, bench: Bench) -> None:
        bench.listen()
        assert not bench.look()
        bench.press()
        assert bench.chip.irq
        assert bench.clear()
        assert not bench.chip.irq
        bench.clock.advance(5_000_000)  # Linux waits so long for the end of bouncing
        assert bench.look()
        bench.clock.advance(HELD_NS - 1)
        assert not bench.chip.irq
        bench.clock.advance(1)
        assert bench.chip.irq
        assert bench.clear()
        assert not bench.look()

    def test_it_is_held_until_the_guest_looks(self, bench: Bench) -> None:
        """A guest may be paused, slow, or still loading its driver."""
        bench.listen()
        bench.press()
        bench.clock.advance(3600 * 10**9)
        assert bench.device.read((0xFF ^ BUTTON) << 2, Width.W32) == 0, "that is no look at the button"
        bench.clock.advance(HELD_NS)
        assert bench.look()
        bench.clock.advance(HELD_NS)
        assert not bench.look()

    def test_looking_again_holds_it_no_longer(self, bench: Bench) -> None:
        bench.press()
        assert bench.look()
        bench.clock.advance(HELD_NS - 1)
        assert bench.look()
        bench.clock.advance(1)
        assert not bench.look()

    def test_it_can_be_pressed_again(self, bench: Bench) -> None:
        bench.listen()
        for _ in range(2):
            bench.press()
            bench.press()  # it is pressed already
            assert bench.clear()
            assert not bench.clear()
            assert bench.look()
            bench.clock.advance(HELD_NS)
            assert bench.clear()
            assert not bench.look()

    def test_a_reset_lets_go_of_it(self, bench: Bench) -> None:
        bench.listen()
        bench.press()
        assert bench.look()
        with bench.lock:
            bench.device.reset()
        assert not bench.chip.irq
        bench.press()
        bench.clock.advance(HELD_NS)
        assert bench.look(), "the first press's timer has nothing to do with it"

    def test_it_has_no_settings(self) -> None:
        with pytest.raises(ConfigError, match="no such setting of a pl061; there are none") as caught:
            Bench({"pin": 3})
        assert caught.value.key == "devices.gpio0.pin"

    def test_it_runs_without_an_interrupt(self, bench: Bench) -> None:
        device = create_device(DeviceOptions("gpio0", bench.clock, bench.lock, Console(bench.lock)))
        device.write(Register.IS, Width.W32, 0xFF)
        device.write(Register.IE, Width.W32, 0xFF)
        assert device.read(Register.MIS, Width.W32) == 0xFF


offsets = st.integers(0, 0xFFF) | st.sampled_from(Register) | st.integers(0, 0xFF).map(lambda mask: mask << 2)


@given(st.lists(st.tuples(offsets, st.sampled_from(Width), st.integers(0, 2**64 - 1), st.booleans(), st.integers(0, 2))))
def test_whatever_a_guest_does_the_line_is_the_masked_status(
    accesses: list[tuple[int, Width, int, bool, int]],
) -> None:
    bench = Bench()
    for offset, width, value, press, waits in accesses:
        if press:
            bench.press()
        bench.device.write(offset, width, value & (1 << 8 * width) - 1)
        bench.clock.advance(waits * HELD_NS // 2)
        assert bench.device.read(offset, width) <= 0xFF
        status = bench.device.read(Register.RIS, width) & bench.device.read(Register.IE, width)
        assert bench.device.read(Register.MIS, width) == status
        assert bench.chip.irq == bool(status)
