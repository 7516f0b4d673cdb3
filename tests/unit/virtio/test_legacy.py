"""The legacy virtio-mmio transport (virtio 1.2, 4.2.4) and the console behind it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.plugin import ConfigError, Width
from avmm_virtio import LegacyVirtioMmio, Port, VirtioConsole, create_console
from avmm_virtio.chardev.base import OutputChardev
from avmm_virtio.console.device import F_EMERG_WRITE, F_SIZE
from avmm_virtio.registers import F_EVENT_IDX, F_INDIRECT_DESC, Register
from tests.unit.virtio.host import device_options
from tests.unit.virtio.ring import NEXT, RAM, RAM_SIZE, WRITE, Driver

PAGE = 4096
TRANSMIT = 1
NEEDS_RESET = 0x40


class Bench:
    """A console on its transport, with the driver's queue in place."""

    def __init__(self, size: int = 8) -> None:
        self.driver = Driver(size)
        self.output = bytearray()
        self.device = LegacyVirtioMmio(
            VirtioConsole({0: Port(OutputChardev(self.output.extend))}), device_options(self.driver.memory)
        )

    @property
    def irq(self) -> bool:
        irq = self.device._irq
        assert irq is not None
        return irq.level

    @property
    def used(self) -> int:
        return sum(queue.stats.used for queue in self.device.queues)

    def read(self, register: Register) -> int:
        return self.device.read(register, Width.W32)

    def write(self, register: Register, value: int) -> None:
        self.device.write(register, Width.W32, value)

    def set_up(self, queue: int = TRANSMIT) -> None:
        """2.6.2: with 256 descriptors, available ring at 4096 and used ring a page behind its end."""
        self.write(Register.GUEST_PAGE_SIZE, PAGE)
        self.write(Register.QUEUE_SEL, queue)
        self.write(Register.QUEUE_NUM, self.driver.size)
        self.write(Register.QUEUE_ALIGN, PAGE)
        self.write(Register.QUEUE_PFN, RAM // PAGE)

    def send(self, *texts: bytes) -> None:
        """One chain with a buffer a text, where the legacy layout wants it."""
        for index, text in enumerate(texts):
            last = index == len(texts) - 1
            self.driver.text(index, text, 0 if last else NEXT, index + 1)
        memory = self.driver.memory
        available = RAM + 16 * self.driver.size
        count = int.from_bytes(memory.read(available + 2, 2), "little")
        memory.write(available + 4 + 2 * (count % self.driver.size), b"\0\0")
        memory.write(available + 2, (count + 1 & 0xFFFF).to_bytes(2, "little"))
        self.write(Register.QUEUE_NOTIFY, TRANSMIT)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_identifies_itself(bench: Bench) -> None:
    assert bench.read(Register.MAGIC_VALUE) == int.from_bytes(b"virt", "little")
    assert bench.read(Register.VERSION) == 1
    assert bench.read(Register.DEVICE_ID) == 3
    assert bench.read(Register.DEVICE_FEATURES) == F_EVENT_IDX | F_INDIRECT_DESC | F_SIZE | F_EMERG_WRITE
    bench.write(Register.DEVICE_FEATURES_SEL, 1)
    assert bench.read(Register.DEVICE_FEATURES) == 0


@pytest.mark.parametrize(("queue", "maximum"), [(0, 128), (1, 128), (2, 0), (2**32 - 1, 0)])
def test_a_queue_that_is_not_there_has_no_size(bench: Bench, queue: int, maximum: int) -> None:
    bench.write(Register.QUEUE_SEL, queue)
    assert bench.read(Register.QUEUE_NUM_MAX) == maximum


def test_what_is_sent_comes_out_and_raises_the_interrupt_until_acknowledged(bench: Bench) -> None:
    bench.set_up()
    assert bench.read(Register.QUEUE_PFN) == RAM // PAGE
    bench.send(b"Hello, ", b"world")
    assert bench.output == b"Hello, world"
    assert (bench.irq, bench.read(Register.INTERRUPT_STATUS)) == (True, 1)
    bench.write(Register.INTERRUPT_ACK, 1)
    assert (bench.irq, bench.read(Register.INTERRUPT_STATUS)) == (False, 0)
    # 2.6.2: the used ring starts at the next alignment boundary behind the available ring.
    assert bench.driver.memory.read(RAM + PAGE + 2, 2) == b"\1\0"
    assert bench.used == 1


def test_input_buffers_wait(bench: Bench) -> None:
    bench.set_up(queue=0)
    bench.driver.describe(0, RAM + PAGE, 16, WRITE)
    bench.driver.memory.write(RAM + 16 * 8 + 2, b"\1\0")
    bench.write(Register.QUEUE_NOTIFY, 0)
    assert (bench.irq, bench.used, bench.read(Register.STATUS)) == (False, 0, 0)


def test_a_broken_queue_stops_the_device_until_it_is_reset(bench: Bench) -> None:
    bench.set_up()
    bench.driver.describe(0, RAM, 1, NEXT, 0)
    bench.driver.memory.write(RAM + 16 * 8 + 2, b"\1\0")
    bench.write(Register.QUEUE_NOTIFY, TRANSMIT)
    assert bench.read(Register.STATUS) & NEEDS_RESET
    assert bench.device.errors == 1
    bench.send(b"lost")
    assert bench.output == b""
    bench.write(Register.STATUS, 0)
    assert bench.read(Register.STATUS) == bench.read(Register.QUEUE_PFN) == 0
    bench.driver.memory.write(RAM + 16 * 8 + 2, b"\0\0")
    bench.set_up()
    bench.send(b"back")
    assert bench.output == b"back"


def test_only_aligned_words_reach_the_registers(bench: Bench) -> None:
    for width in (Width.W8, Width.W16, Width.W64):
        assert bench.device.read(Register.MAGIC_VALUE, width) == 0
        bench.device.write(Register.STATUS, width, 1)
    assert bench.device.read(1, Width.W32) == bench.read(Register.STATUS) == 0


@pytest.mark.parametrize(("page_size", "align"), [(0, PAGE), (PAGE, 0), (PAGE, 3)])
def test_a_queue_that_cannot_be_placed_stops_the_device(bench: Bench, page_size: int, align: int) -> None:
    bench.write(Register.GUEST_PAGE_SIZE, page_size)
    bench.write(Register.QUEUE_ALIGN, align)
    bench.write(Register.QUEUE_PFN, 1)
    assert bench.read(Register.STATUS) & NEEDS_RESET


_WRITES = st.tuples(
    st.sampled_from(Register) | st.integers(0, 0x1FF),
    st.sampled_from(Width),
    st.integers(0, 2**64 - 1) | st.integers(0, 256) | st.just(RAM // PAGE),
)


@given(st.lists(_WRITES, max_size=60), st.binary(max_size=400))
def test_whatever_a_guest_writes_nothing_raises(writes: list[tuple[int, Width, int]], junk: bytes) -> None:
    bench = Bench()
    bench.set_up()
    bench.driver.memory.write(RAM, junk)
    for offset, width, value in writes:
        bench.device.write(offset, width, value & (1 << 8 * width) - 1)
        bench.device.read(offset, width)
    assert bench.read(Register.MAGIC_VALUE) == int.from_bytes(b"virt", "little")
    assert len(bench.driver.memory.read(RAM, RAM_SIZE)) == RAM_SIZE


class TestTestDevice:
    """What a guest writes to the test device, and what the machine exits with."""

    @pytest.fixture
    def ended(self) -> list[tuple[str, int]]:
        return []

    @pytest.fixture
    def write(self, ended: list[tuple[str, int]]) -> Callable[[bytes], None]:
        bench = Bench()

        def shut_down(detail: str, status: int) -> None:
            ended.append((detail, status))

        device = create_console(device_options(bench.driver.memory, {"testdev": True}, shut_down))
        assert isinstance(device, LegacyVirtioMmio)
        bench.device = device
        bench.set_up()
        return bench.send

    @pytest.mark.parametrize(
        ("texts", "status"),
        [([b"0q"], 1), ([b"1q"], 3), ([b"127q"], 255), ([b"128q"], 1), ([b"1", b"2", b"q"], 25), ([b"7x2q"], 5), ([b"q"], 1)],
    )
    def test_a_number_and_q_end_the_machine(
        self, write: Callable[[bytes], None], ended: list[tuple[str, int]], texts: list[bytes], status: int
    ) -> None:
        for text in texts:
            write(text)
        assert ended == [(f"test device: status {status}", status)]

    def test_anything_else_does_not(self, write: Callable[[bytes], None], ended: list[tuple[str, int]]) -> None:
        write(b"Hello\n\x00\xff12345")
        assert ended == []

    @pytest.mark.parametrize(("table", "key"), [({}, "hvc"), ({"testdev": 1}, "testdev"), ({"testdev": True, "x": 1}, "x")])
    def test_a_mistake_in_its_table_is_named(self, table: dict[str, object], key: str) -> None:
        with pytest.raises(ConfigError) as caught:
            create_console(device_options(Bench().driver.memory, table, lambda detail, status: None))
        assert caught.value.key == f"devices.testdev.{key}"
