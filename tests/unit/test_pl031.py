"""The PL031 against Arm DDI 0224, and as a device in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.clock import NS_PER_S, VirtualClock
from avmm.plugin import ConfigError, Console, DeviceLock, DeviceOptions, IrqLine, Width
from avmm_rtc import Pl031Device, create_device
from avmm_rtc.pl031 import Register

EPOCH = 1_700_000_000


class Chip:
    def __init__(self) -> None:
        self.levels: dict[int, bool] = {}

    def set_spi_level(self, number: int, level: bool) -> None:
        self.levels[number] = level


class Bench:
    """A clock whose interrupt is SPI 2, in virtual time that starts in the middle of a second."""

    def __init__(self, table: dict[str, object] | None = None) -> None:
        self.clock = VirtualClock(start_ns=123_456_789)
        self.chip = Chip()
        lock = DeviceLock()
        irq = IrqLine(self.chip, 2, lock)
        device = create_device(
            DeviceOptions("rtc0", self.clock, lock, Console(lock), irq, {"epoch": EPOCH} if table is None else table)
        )
        assert isinstance(device, Pl031Device)
        self.device = device

    @property
    def irq(self) -> bool:
        return self.chip.levels.get(2, False)

    def read(self, register: Register) -> int:
        return self.device.read(register, Width.W32)

    def write(self, register: Register, value: int) -> None:
        self.device.write(register, Width.W32, value)

    def wait(self, seconds: float) -> None:
        self.clock.advance(int(seconds * NS_PER_S))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_identifies_itself(bench: Bench) -> None:
    """3.3.9 and 3.3.10."""
    numbers = [bench.device.read(offset, Width.W32) for offset in range(0xFE0, 0x1000, 4)]
    assert numbers == [0x31, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1]


def test_it_counts_seconds_from_power_on(bench: Bench) -> None:
    assert bench.read(Register.DR) == EPOCH
    bench.wait(0.999)
    assert bench.read(Register.DR) == EPOCH
    bench.wait(0.001)
    assert bench.read(Register.DR) == EPOCH + 1
    assert bench.read(Register.CR) == 1


def test_a_load_sets_the_counter_and_keeps_its_pace(bench: Bench) -> None:
    bench.wait(0.75)
    bench.write(Register.LR, 100)
    assert (bench.read(Register.LR), bench.read(Register.DR)) == (100, 100)
    bench.wait(0.25)
    assert bench.read(Register.DR) == 101


def test_the_counter_wraps(bench: Bench) -> None:
    bench.write(Register.LR, 0xFFFF_FFFF)
    bench.wait(1)
    assert bench.read(Register.DR) == 0


def test_a_match_raises_the_interrupt_when_it_is_let_through(bench: Bench) -> None:
    bench.write(Register.MR, EPOCH + 2)
    bench.wait(1.9)
    assert bench.read(Register.RIS) == 0
    bench.wait(0.1)
    assert (bench.read(Register.RIS), bench.read(Register.MIS), bench.irq) == (1, 0, False)
    bench.write(Register.IMSC, 1)
    assert (bench.read(Register.MIS), bench.irq) == (1, True)
    bench.write(Register.ICR, 0)
    assert bench.irq
    bench.write(Register.ICR, 1)
    assert (bench.read(Register.RIS), bench.read(Register.MIS), bench.irq) == (0, 0, False)


def test_the_interrupt_comes_by_itself(bench: Bench) -> None:
    bench.write(Register.IMSC, 1)
    bench.write(Register.MR, EPOCH + 3)
    bench.wait(3)
    assert bench.irq


def test_a_match_with_the_counter_as_it_is_comes_at_once(bench: Bench) -> None:
    bench.write(Register.IMSC, 1)
    bench.write(Register.MR, EPOCH)
    assert bench.irq


def test_a_load_moves_the_match(bench: Bench) -> None:
    bench.write(Register.IMSC, 1)
    bench.write(Register.MR, EPOCH + 1000)
    bench.write(Register.LR, EPOCH + 998)
    bench.wait(2)
    assert bench.irq


def test_a_match_in_the_past_waits_for_the_wrap(bench: Bench) -> None:
    bench.write(Register.LR, 0xFFFF_FFFE)
    bench.write(Register.MR, 1)
    bench.wait(2)
    assert bench.read(Register.RIS) == 0
    bench.wait(1)
    assert bench.read(Register.RIS) == 1


def test_a_reset_clears_the_registers_and_not_the_time(bench: Bench) -> None:
    bench.write(Register.IMSC, 1)
    bench.write(Register.MR, EPOCH)
    bench.wait(5)
    bench.device.reset()
    assert not bench.irq
    assert [bench.read(register) for register in (Register.MR, Register.LR, Register.IMSC, Register.RIS)] == [0] * 4
    assert bench.read(Register.DR) == EPOCH + 5
    bench.wait(10)
    assert bench.read(Register.RIS) == 0


@pytest.mark.parametrize("offset", [Register.DR, Register.RIS, Register.MIS, 0x020, 0x080, 0xFDC, *range(0xFE0, 0x1000, 4)])
def test_what_is_read_only_or_not_there_ignores_writes(bench: Bench, offset: int) -> None:
    before = bench.device.read(offset, Width.W32)
    bench.device.write(offset, Width.W32, 0xDEAD_BEEF)
    assert bench.device.read(offset, Width.W32) == before


@pytest.mark.parametrize("value", [0, 1, 0xFFFF_FFFF])
def test_the_counter_runs_and_cannot_be_stopped(bench: Bench, value: int) -> None:
    """3.3.4: once RTCCR is set, writes to it have no effect; here firmware has set it."""
    bench.write(Register.CR, value)
    bench.wait(1)
    assert (bench.read(Register.CR), bench.read(Register.DR)) == (1, EPOCH + 1)


@pytest.mark.parametrize(("register", "kept"), [(Register.MR, 0xFFFF_FFFF), (Register.LR, 0xFFFF_FFFF), (Register.IMSC, 1)])
def test_a_register_keeps_the_bits_it_has(bench: Bench, register: Register, kept: int) -> None:
    bench.write(register, 0xFFFF_FFFF)
    assert bench.read(register) == kept


def test_the_mask_holds_back_the_line_and_not_the_status(bench: Bench) -> None:
    """3.3.5 to 3.3.7; 3.3.8: RTCICR is write-only, and clears what is written as one."""
    bench.write(Register.MR, EPOCH)
    for mask in (1, 0, 1):
        bench.write(Register.IMSC, mask)
        assert (bench.read(Register.RIS), bench.read(Register.MIS), bench.irq) == (1, mask, bool(mask))
    bench.write(Register.ICR, 0xFFFF_FFFE)
    assert (bench.irq, bench.read(Register.ICR)) == (True, 0)
    bench.write(Register.ICR, 1)
    assert not bench.irq


def test_a_match_comes_once_a_time_around(bench: Bench) -> None:
    bench.write(Register.MR, EPOCH)
    bench.write(Register.ICR, 1)
    bench.wait(0.5)
    assert bench.read(Register.RIS) == 0, "the counter still equals the match register"
    bench.wait((1 << 32) - 2)
    assert bench.read(Register.RIS) == 0
    bench.wait(2)
    assert bench.read(Register.RIS) == 1


def test_another_match_takes_the_place_of_the_first(bench: Bench) -> None:
    bench.write(Register.MR, EPOCH + 1)
    bench.write(Register.MR, EPOCH + 3)
    bench.wait(2)
    assert bench.read(Register.RIS) == 0
    bench.wait(1)
    assert bench.read(Register.RIS) == 1


@pytest.mark.parametrize(("load", "raw"), [(EPOCH + 10, 1), (EPOCH + 11, 0), (EPOCH + 9, 0)])
def test_a_load_of_what_the_match_register_holds_matches(bench: Bench, load: int, raw: int) -> None:
    bench.write(Register.MR, EPOCH + 10)
    bench.write(Register.LR, load)
    assert bench.read(Register.RIS) == raw


def test_virtual_time_starts_in_1970() -> None:
    assert Bench({}).read(Register.DR) == 0


@pytest.mark.parametrize("table", [{"epoch": -1}, {"epoch": 1 << 32}, {"epoch": "now"}, {"epoch": True}, {"zone": 1}])
def test_a_mistake_in_its_table_is_named(table: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        Bench(table)
    assert caught.value.key == f"devices.rtc0.{next(iter(table))}"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFF) | st.sampled_from(Register),
            st.sampled_from(Width),
            st.integers(0, 2**64 - 1),
            st.integers(0, 9),
        )
    )
)
def test_whatever_a_guest_writes_the_line_is_the_masked_status(writes: list[tuple[int, Width, int, int]]) -> None:
    bench = Bench()
    for offset, width, value, seconds in writes:
        bench.device.write(offset, width, value & (1 << 8 * width) - 1)
        bench.wait(seconds)
        bench.device.read(offset, width)
        assert bench.irq == bool(bench.read(Register.MIS)) == bool(bench.read(Register.RIS) and bench.read(Register.IMSC))
