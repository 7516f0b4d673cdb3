"""What the standard demands of every device (virtio 1.2), clause by clause, where no other test says so already."""

from __future__ import annotations

import struct

import pytest

from avmm.plugin import MemorySlot, Width
from avmm_virtio import VirtioConsole, VirtioModel, Virtqueue
from avmm_virtio.registers import CONFIG, F_EVENT_IDX, F_INDIRECT_DESC, F_RING_RESET, F_VERSION_1, Register, Status
from tests.unit.virtio.many import ManyBench
from tests.unit.virtio.modern import READY, RING_FEATURES, ModernBench
from tests.unit.virtio.ring import AVAILABLE, BUFFERS, INDIRECT, NEXT, RAM, RAM_SIZE, USED, WRITE


class Adder(VirtioModel):
    """Answers four bytes with how many bytes there were in front of them, and their sum."""

    device_id = 42
    queue_sizes = (8, 8)

    def __init__(self) -> None:
        self.config = b"\x11\x22\x33\x44"
        self.served = 0

    def notify(self, queue: Virtqueue) -> None:
        for chain in queue.chains():
            self.served += 1
            data = chain.read()
            queue.push(chain, chain.write(struct.pack("<HH", len(data), sum(data))), read=len(data))


class AdderBench(ModernBench):
    def __init__(self, features: int | None = F_VERSION_1) -> None:
        self.adder = Adder()
        super().__init__(self.adder)
        if features is not None:
            self.set_up(features=features)

    def ask(self, data: bytes = b"\1\2\3", head: int = 0) -> None:
        self.driver.text(head, data, NEXT, head + 1)
        self.driver.describe(head + 1, BUFFERS + 0x100 * (head + 1), 4, WRITE)
        self.driver.offer(head)

    def answer(self, head: int = 0) -> tuple[int, int]:
        length, total = struct.unpack("<HH", self.memory.read(BUFFERS + 0x100 * (head + 1), 4))
        return length, total


class TestStatus:
    """2.1.2."""

    def test_no_buffer_is_consumed_before_driver_ok_whoever_looks(self) -> None:
        bench = AdderBench(None)
        bench.negotiate()
        bench.place()
        bench.ask()
        queue = bench.device.queues[0]
        with bench.options.lock:
            assert queue.pop() is None
            bench.adder.notify(queue)
            queue.signal()
        assert (bench.adder.served, bench.driver.used(), bench.irq) == (0, [], False)
        bench.write(Register.STATUS, READY | Status.DRIVER_OK)
        assert (bench.adder.served, bench.answer()) == (1, (3, 6))

    def test_none_is_consumed_by_a_device_that_needs_a_reset(self) -> None:
        bench = AdderBench()
        bench.device.broken("said the test")
        bench.ask()
        bench.notify()
        assert bench.adder.served == 0


def test_the_same_features_are_taken_again_after_a_reset() -> None:
    """2.2.2."""
    bench = AdderBench(RING_FEATURES)
    for _ in range(3):
        bench.write(Register.STATUS, 0)
        assert bench.read(Register.STATUS) == 0
        assert bench.negotiate(RING_FEATURES)


def test_the_configuration_is_read_before_features_ok() -> None:
    """2.5.2: fields that depend on features too."""
    assert AdderBench(None).read(CONFIG) == 0x4433_2211
    console = ModernBench(VirtioConsole({}, max_ports=7))
    assert console.read(CONFIG + 4) == 7


class TestQueueReset:
    """2.6.1."""

    def test_nothing_is_executed_and_nobody_notified(self) -> None:
        bench = AdderBench(F_VERSION_1 | F_RING_RESET)
        queue = bench.device.queues[0]
        bench.ask()
        with bench.options.lock:
            chain = queue.pop()
            assert chain is not None
            bench.device.write(Register.QUEUE_RESET, Width.W32, 1)
            queue.push(chain, 4)
            queue.signal()
        bench.notify()
        assert (bench.adder.served, bench.driver.used(), bench.irq) == (0, [], False)

    def test_its_state_is_the_default_again_and_a_new_one_is_observed(self) -> None:
        bench = AdderBench(F_VERSION_1 | F_RING_RESET)
        bench.ask()
        bench.notify()
        bench.write(Register.QUEUE_RESET, 1)
        split = bench.device.queues[0].split
        assert (split.size, split.descriptors, split.available, split.used) == (8, 0, 0, 0)
        bench.memory.write(RAM, bytes(RAM_SIZE))
        bench.driver.size, bench.driver.available = 4, 0
        bench.place()
        bench.ask(b"\7")
        bench.notify()
        assert (bench.driver.used(), bench.answer()) == ([(0, 4)], (1, 7))

    def test_the_other_queues_go_on(self) -> None:
        bench = ManyBench(Adder(), (0, 1), F_VERSION_1 | F_RING_RESET)
        bench.write(Register.QUEUE_SEL, 0)
        bench.write(Register.QUEUE_RESET, 1)
        bench.give(1, 4)
        assert bench.got(1) == [bytes(4)]


@pytest.mark.parametrize(
    "sizes", [([6], [4]), ([1] * 4, [1] * 4), ([3, 3], [1, 3]), ([1, 0, 5], [0, 4]), ([6], [2, 0, 2])], ids=str
)
def test_the_arrangement_of_descriptors_means_nothing(sizes: tuple[list[int], list[int]]) -> None:
    """2.7.4."""
    bench = AdderBench()
    readable, writable = sizes
    data = bytes(range(1, 1 + sum(readable)))
    at, index = BUFFERS, 0
    bench.memory.write(BUFFERS, data)
    for size in readable:
        bench.driver.describe(index, at, size, NEXT, index + 1)
        at, index = at + size, index + 1
    start = at = BUFFERS + 0x800
    for number, size in enumerate(writable, 1):
        bench.driver.describe(index, at, size, WRITE | (NEXT if number < len(writable) else 0), index + 1)
        at, index = at + size, index + 1
    bench.driver.offer(0)
    bench.notify()
    assert struct.unpack("<HH", bench.memory.read(start, 4)) == (len(data), sum(data))


def test_the_device_writes_the_used_ring_and_writable_buffers_and_nothing_else() -> None:
    """2.7.5: no descriptor, no readable buffer, and of the rings the used one."""
    bench = AdderBench(RING_FEATURES)
    bench.ask()
    before = bench.memory.read(RAM, RAM_SIZE)
    bench.notify()
    after = bench.memory.read(RAM, RAM_SIZE)
    changed = {RAM + at for at in range(RAM_SIZE) if before[at] != after[at]}
    used, answer = range(USED, USED + 6 + 8 * 8), range(BUFFERS + 0x100, BUFFERS + 0x104)
    assert changed
    assert all(address in used or address in answer for address in changed)


class TestIndirect:
    """2.7.5.3.2."""

    @pytest.mark.parametrize("flags", [INDIRECT, INDIRECT | WRITE])
    @pytest.mark.parametrize("direct", [0, 1, 2])
    def test_direct_descriptors_and_then_a_table_whose_write_flag_means_nothing(self, flags: int, direct: int) -> None:
        bench = AdderBench(F_VERSION_1 | F_INDIRECT_DESC)
        for index in range(direct):
            bench.driver.text(index, b"\5", NEXT, index + 1)
        table = RAM + 0x3000
        bench.memory.write(table, struct.pack("<QIHH", BUFFERS + 0x800, 2, NEXT, 1))
        bench.memory.write(table + 16, struct.pack("<QIHH", BUFFERS + 0x900, 4, WRITE, 0))
        bench.memory.write(BUFFERS + 0x800, b"\1\1")
        bench.driver.describe(direct, table, 32, flags)
        bench.driver.offer(0)
        bench.notify()
        assert struct.unpack("<HH", bench.memory.read(BUFFERS + 0x900, 4)) == (2 + direct, 2 + 5 * direct)


class TestUsedBufferNotifications:
    """2.7.7.2."""

    @pytest.mark.parametrize(("flags", "interrupted"), [(0, True), (1, False)])
    def test_by_flags_whatever_used_event_says(self, flags: int, interrupted: bool) -> None:
        bench = AdderBench()
        bench.memory.write(AVAILABLE, struct.pack("<H", flags))
        bench.memory.write(AVAILABLE + 4 + 2 * 8, struct.pack("<H", 5 if interrupted else 0))
        bench.ask()
        bench.notify()
        assert bench.irq is interrupted

    @pytest.mark.parametrize(("event", "interrupted"), [(0, True), (1, False)])
    def test_by_used_event_whatever_flags_say(self, event: int, interrupted: bool) -> None:
        bench = AdderBench(F_VERSION_1 | F_EVENT_IDX)
        bench.memory.write(AVAILABLE, struct.pack("<H", interrupted))
        bench.memory.write(AVAILABLE + 4 + 2 * 8, struct.pack("<H", event))
        bench.ask()
        bench.notify()
        assert bench.irq is interrupted


class TestAvailableBufferNotifications:
    """2.7.10."""

    @pytest.mark.parametrize("features", [F_VERSION_1, F_VERSION_1 | F_EVENT_IDX])
    def test_flags_of_the_used_ring_are_zero_whatever_was_there(self, features: int) -> None:
        bench = AdderBench(None)
        bench.memory.write(USED, b"\xff\xff")
        bench.set_up(features=features)
        assert bench.memory.read(USED, 2) == b"\0\0"

    def test_notifications_of_nothing_do_nothing(self) -> None:
        bench = AdderBench()
        for queue in (0, 0, 1, 2, 0xFFFF_FFFF):
            bench.notify(queue)
        assert (bench.adder.served, bench.irq, bench.read(Register.STATUS)) == (0, False, READY | Status.DRIVER_OK)
        bench.ask()
        bench.notify()
        bench.notify()
        assert bench.adder.served == 1


class TestRegisters:
    """4.2.2.1."""

    def test_an_event_is_shown_until_it_is_acknowledged_and_no_other_bit(self) -> None:
        bench = AdderBench()
        bench.ask()
        bench.notify()
        assert (bench.read(Register.INTERRUPT_STATUS), bench.irq) == (1, True)
        bench.write(Register.INTERRUPT_ACK, 2)
        assert (bench.read(Register.INTERRUPT_STATUS), bench.irq) == (1, True)
        bench.device.config_changed()
        bench.write(Register.INTERRUPT_ACK, 1)
        assert (bench.read(Register.INTERRUPT_STATUS), bench.irq) == (2, True)
        bench.write(Register.INTERRUPT_ACK, 0xFFFF_FFFF)
        assert (bench.read(Register.INTERRUPT_STATUS), bench.irq) == (0, False)

    def test_a_reset_clears_interrupts_and_the_ready_bits_of_all_queues(self) -> None:
        bench = ManyBench(Adder(), (0, 1), F_VERSION_1 | F_RING_RESET)
        bench.give(1, 4)
        assert bench.irq
        bench.write(Register.STATUS, 0)
        assert bench.read(Register.INTERRUPT_STATUS) == 0
        for queue in (0, 1):
            bench.write(Register.QUEUE_SEL, queue)
            assert (bench.read(Register.QUEUE_READY), bench.read(Register.QUEUE_RESET)) == (0, 0)

    def test_a_queue_that_is_not_ready_is_not_looked_at(self) -> None:
        """Its memory may not even be there."""
        bench = AdderBench()
        bench.write(Register.QUEUE_READY, 0)
        (slot,) = bench.memory
        bench.memory.remove(slot)
        slot.close()
        bench.notify()
        assert (bench.adder.served, bench.read(Register.STATUS)) == (0, READY | Status.DRIVER_OK)

    def test_queue_reset_reads_zero_once_the_queue_is_ready_again(self) -> None:
        bench = AdderBench(F_VERSION_1 | F_RING_RESET)
        bench.write(Register.QUEUE_RESET, 1)
        assert (bench.read(Register.QUEUE_RESET), bench.read(Register.QUEUE_READY)) == (0, 0)
        bench.place()
        assert (bench.read(Register.QUEUE_RESET), bench.read(Register.QUEUE_READY)) == (0, 1)


def test_a_queue_may_lie_anywhere_in_memory() -> None:
    """4.2.2: addresses have 64 bits, and the rings need not be neighbours."""
    bench = AdderBench(None)
    high = MemorySlot(0x12_3400_0000, 0x1_0000)
    bench.memory.add(high)
    bench.negotiate()
    bench.driver.at = high.address - RAM
    bench.place(at=high.address - RAM)
    bench.driver.text(0, b"\1", NEXT, 1)
    bench.driver.describe(1, BUFFERS, 4, WRITE)
    bench.driver.offer(0)
    bench.write(Register.STATUS, READY | Status.DRIVER_OK)
    assert struct.unpack("<HH", bench.memory.read(BUFFERS, 4)) == (1, 1)
