"""Virtio over memory-mapped registers, version 2 (virtio 1.2, 4.2.2), with a device that answers in capitals."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.plugin import Width
from avmm_virtio import VirtioModel, Virtqueue
from avmm_virtio.registers import CONFIG, F_EVENT_IDX, F_INDIRECT_DESC, F_RING_RESET, F_VERSION_1, Register, Status
from tests.unit.virtio.modern import READY, RING_FEATURES, ModernBench
from tests.unit.virtio.ring import AVAILABLE, BUFFERS, INDIRECT, NEXT, RAM, RAM_SIZE, USED, WRITE

F_SHOUT, F_ALWAYS_REFUSED = 1 << 5, 1 << 6


class Shouter(VirtioModel):
    """Puts what it reads back in capitals."""

    device_id = 42
    features = F_SHOUT | F_ALWAYS_REFUSED
    queue_sizes = (8, 4)

    def __init__(self) -> None:
        self.config = bytes(range(1, 13))
        self.calls: list[str] = []

    def features_ok(self, features: int) -> bool:
        return not features & F_ALWAYS_REFUSED

    def activate(self) -> None:
        self.calls.append("activate")

    def notify(self, queue: Virtqueue) -> None:
        self.calls.append(f"notify {queue.index}")
        for chain in queue.chains():
            text = chain.read()
            queue.push(chain, chain.write(text.upper()), read=len(text))

    def write_config(self, offset: int, data: bytes) -> None:
        self.config = self.config[:offset] + data + self.config[offset + len(data) :]

    def queue_reset(self, queue: Virtqueue) -> None:
        self.calls.append(f"reset {queue.index}")

    def reset(self) -> None:
        self.calls.append("reset")


class Bench(ModernBench):
    """A shouter with its driver."""

    def __init__(self) -> None:
        self.model = Shouter()
        super().__init__(self.model)

    def say(self, text: bytes, head: int = 0) -> None:
        self.driver.text(head, text, NEXT, head + 1)
        self.driver.describe(head + 1, BUFFERS + 0x100 * (head + 1), len(text), WRITE)
        self.driver.offer(head)

    def heard(self, size: int, head: int = 0) -> bytes:
        return self.memory.read(BUFFERS + 0x100 * (head + 1), size)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_identifies_itself(bench: Bench) -> None:
    assert bench.read(Register.MAGIC_VALUE) == int.from_bytes(b"virt", "little")
    assert bench.read(Register.VERSION) == 2
    assert bench.read(Register.DEVICE_ID) == 42
    assert bench.offered == F_SHOUT | F_ALWAYS_REFUSED | RING_FEATURES | F_RING_RESET
    bench.write(Register.DEVICE_FEATURES_SEL, 2)
    assert bench.read(Register.DEVICE_FEATURES) == 0
    assert [bench.read(register) for register in range(Register.SHM_LEN_LOW, Register.QUEUE_RESET, 4)] == [0xFFFF_FFFF] * 4


@pytest.mark.parametrize(("queue", "maximum"), [(0, 8), (1, 4), (2, 0), (2**32 - 1, 0)])
def test_a_queue_that_is_not_there_has_no_size(bench: Bench, queue: int, maximum: int) -> None:
    bench.write(Register.QUEUE_SEL, queue)
    assert bench.read(Register.QUEUE_NUM_MAX) == maximum


@pytest.mark.parametrize(
    ("features", "accepted"),
    [
        (F_VERSION_1, True),
        (F_VERSION_1 | F_SHOUT | F_EVENT_IDX | F_INDIRECT_DESC | F_RING_RESET, True),
        (F_SHOUT, False),
        (F_VERSION_1 | 1 << 7, False),
        (F_VERSION_1 | 1 << 63, False),
        (F_VERSION_1 | F_ALWAYS_REFUSED, False),
    ],
)
def test_features_are_accepted_or_refused_as_a_whole(bench: Bench, features: int, accepted: bool) -> None:
    assert bench.negotiate(features) is accepted


def test_features_stand_still_from_features_ok_on(bench: Bench) -> None:
    bench.negotiate(F_VERSION_1 | F_SHOUT)
    bench.write(Register.DRIVER_FEATURES_SEL, 0)
    bench.write(Register.DRIVER_FEATURES, F_ALWAYS_REFUSED)
    assert bench.device.features == F_VERSION_1 | F_SHOUT


def test_a_refused_driver_may_try_again(bench: Bench) -> None:
    assert not bench.negotiate(0)
    assert bench.negotiate()


def test_what_is_asked_is_answered_with_one_interrupt_until_acknowledged(bench: Bench) -> None:
    bench.set_up()
    bench.say(b"hello")
    bench.say(b"world", head=2)
    bench.notify()
    assert (bench.heard(5), bench.heard(5, head=2)) == (b"HELLO", b"WORLD")
    assert bench.driver.used() == [(0, 5), (2, 5)]
    stats = bench.device.queues[0].stats
    assert (stats.notifications, stats.chains, stats.used, stats.interrupts, stats.depth) == (1, 2, 2, 1, 0)
    assert (stats.bytes_read, stats.bytes_written) == (10, 10)
    assert (bench.irq, bench.acknowledge()) == (True, 1)
    assert (bench.irq, bench.acknowledge()) == (False, 0)


@pytest.mark.parametrize("features", [F_VERSION_1, RING_FEATURES])
def test_the_driver_may_do_without_interrupts(bench: Bench, features: int) -> None:
    bench.set_up(features=features)
    bench.memory.write(AVAILABLE, b"\1\0")
    bench.memory.write(AVAILABLE + 4 + 2 * 8, b"\5\0")
    bench.say(b"hello")
    bench.notify()
    assert bench.heard(5) == b"HELLO"
    assert not bench.irq


def test_indirect_descriptors(bench: Bench) -> None:
    bench.set_up(features=RING_FEATURES)
    bench.say(b"hello")
    bench.memory.write(BUFFERS, b"again")
    bench.memory.write(RAM + 0x3000, bench.memory.read(RAM, 32))
    bench.driver.describe(4, RAM + 0x3000, 32, INDIRECT)
    bench.driver.offer(4)
    bench.notify()
    assert bench.driver.used() == [(0, 5), (4, 5)]


def test_nothing_is_used_before_driver_ok_and_nothing_lost(bench: Bench) -> None:
    assert bench.negotiate()
    bench.place()
    bench.say(b"early")
    bench.notify()
    assert bench.driver.used() == []
    bench.write(Register.STATUS, READY | Status.DRIVER_OK)
    assert bench.model.calls == ["activate", "notify 0"]
    assert bench.heard(5) == b"EARLY"
    assert bench.irq


def test_driver_ok_without_features_ok_is_a_broken_rule(bench: Bench) -> None:
    bench.write(Register.STATUS, Status.DRIVER_OK)
    assert bench.read(Register.STATUS) == Status.NEEDS_RESET
    assert bench.faults == ["virtio: testdev: DRIVER_OK without FEATURES_OK"]


def test_bits_of_the_status_are_taken_away_by_a_reset_alone(bench: Bench) -> None:
    bench.set_up()
    bench.write(Register.STATUS, Status.ACKNOWLEDGE | Status.NEEDS_RESET)
    assert bench.read(Register.STATUS) == READY | Status.DRIVER_OK
    bench.write(Register.STATUS, 0)
    assert bench.read(Register.STATUS) == 0


def test_a_reset_forgets_everything(bench: Bench) -> None:
    bench.set_up()
    bench.say(b"hello")
    bench.notify()
    bench.write(Register.STATUS, 0)
    assert (bench.irq, bench.read(Register.INTERRUPT_STATUS), bench.device.features) == (False, 0, 0)
    assert bench.model.calls[-1] == "reset"
    bench.write(Register.QUEUE_SEL, 0)
    assert bench.read(Register.QUEUE_READY) == 0
    bench.memory.write(USED, bytes(8))
    bench.memory.write(AVAILABLE, bytes(8))
    bench.driver.available = 0
    bench.set_up()
    bench.say(b"again")
    bench.notify()
    assert bench.heard(5) == b"AGAIN"


def test_a_broken_queue_stops_the_device_until_it_is_reset(bench: Bench) -> None:
    bench.set_up()
    bench.driver.describe(0, BUFFERS, 1, NEXT, 0)
    bench.driver.offer(0)
    bench.notify()
    assert bench.read(Register.STATUS) & Status.NEEDS_RESET
    assert bench.faults == ["virtio: testdev: queue 0: a descriptor chain that does not end"]
    assert (bench.irq, bench.acknowledge()) == (True, 2), "the driver is told (2.1.2)"
    assert (bench.device.errors, bench.device.queues[0].stats.depth) == (1, 0)
    bench.say(b"lost", head=2)
    bench.notify()
    bench.place()
    bench.notify()
    assert bench.driver.used() == []
    bench.write(Register.STATUS, 0)
    assert bench.read(Register.STATUS) == 0


def test_a_queue_that_cannot_be_placed_stops_the_device(bench: Bench) -> None:
    assert bench.negotiate()
    bench.place(at=0x10_0000)
    assert bench.read(Register.STATUS) & Status.NEEDS_RESET
    assert bench.read(Register.QUEUE_READY) == 0
    assert not bench.irq, "no notification before DRIVER_OK (2.1.2)"


def test_a_queue_stays_where_it_is_while_in_use(bench: Bench) -> None:
    bench.set_up()
    for register in (Register.QUEUE_DESC_LOW, Register.QUEUE_DRIVER_HIGH, Register.QUEUE_DEVICE_LOW, Register.QUEUE_NUM):
        bench.write(register, 4)
    split = bench.device.queues[0].split
    assert (split.descriptors, split.available, split.used, split.size) == (RAM, AVAILABLE, USED, 8)


@pytest.mark.parametrize("register", [Register.QUEUE_READY, Register.QUEUE_RESET])
def test_a_queue_can_be_taken_back_alone(bench: Bench, register: Register) -> None:
    """2.6.1, and QueueReady (4.2.2)."""
    bench.set_up(features=F_VERSION_1 | F_RING_RESET)
    bench.write(register, register is Register.QUEUE_RESET)
    assert (bench.read(Register.QUEUE_READY), bench.read(Register.QUEUE_RESET)) == (0, 0)
    assert bench.model.calls[-1] == "reset 0"
    bench.say(b"later")
    bench.notify()
    assert bench.driver.used() == []
    bench.place()
    assert bench.heard(5) == b"LATER", "what was there is looked at when the queue is ready again"


def test_a_queue_is_reset_only_by_drivers_that_know_of_it(bench: Bench) -> None:
    bench.set_up()
    bench.write(Register.QUEUE_RESET, 1)
    assert bench.read(Register.QUEUE_READY) == 1


def test_chains_of_before_a_reset_are_dropped(bench: Bench) -> None:
    bench.set_up()
    bench.say(b"hello")
    queue = bench.device.queues[0]
    chain = queue.pop()
    assert chain is not None
    assert queue.stats.depth == 1
    bench.write(Register.STATUS, 0)
    queue.push(chain, 5)
    queue.signal()
    assert (bench.driver.used(), bench.irq, queue.stats.depth) == ([], False, 0)


def test_a_ring_whose_memory_is_gone_stops_the_device(bench: Bench) -> None:
    bench.set_up()
    (slot,) = bench.memory
    bench.memory.remove(slot)
    slot.close()
    bench.notify()
    assert bench.read(Register.STATUS) & Status.NEEDS_RESET


class TestConfiguration:
    """The device's configuration space (2.5)."""

    def test_it_is_read_at_any_width_and_ends_in_zeros(self, bench: Bench) -> None:
        assert bench.read(CONFIG, Width.W8) == 1
        assert bench.read(CONFIG + 2, Width.W16) == 0x0403
        assert bench.read(CONFIG + 4, Width.W32) == 0x0807_0605
        assert bench.read(CONFIG + 8, Width.W64) == 0x0C0B_0A09
        assert bench.read(CONFIG + 0xFC, Width.W32) == 0

    def test_it_is_written_by_the_driver(self, bench: Bench) -> None:
        bench.write(CONFIG + 2, 0xBBAA, Width.W16)
        assert bench.model.config[:5] == b"\1\2\xaa\xbb\5"

    def test_a_change_has_a_new_generation_and_an_interrupt(self, bench: Bench) -> None:
        before = bench.read(Register.CONFIG_GENERATION)
        bench.device.config_changed()
        assert bench.read(Register.CONFIG_GENERATION) != before
        assert not bench.irq, "no notification before DRIVER_OK (2.1.2)"
        bench.set_up()
        bench.device.config_changed()
        assert (bench.irq, bench.acknowledge()) == (True, 2)


def test_an_interrupt_that_is_acknowledged_leaves_the_other(bench: Bench) -> None:
    bench.set_up()
    bench.say(b"hello")
    bench.notify()
    bench.device.config_changed()
    assert bench.read(Register.INTERRUPT_STATUS) == 3
    bench.write(Register.INTERRUPT_ACK, 1)
    assert (bench.irq, bench.read(Register.INTERRUPT_STATUS)) == (True, 2)
    bench.write(Register.INTERRUPT_ACK, 2)
    assert (bench.irq, bench.read(Register.INTERRUPT_STATUS)) == (False, 0)


def test_only_aligned_words_reach_the_registers(bench: Bench) -> None:
    for width in (Width.W8, Width.W16, Width.W64):
        assert bench.read(Register.MAGIC_VALUE, width) == 0
        bench.write(Register.STATUS, 1, width)
        bench.write(Register.QUEUE_NOTIFY, 0, width)
    assert bench.read(1) == bench.read(Register.STATUS) == 0


async def test_a_driver_that_never_stops_offering_does_not_keep_the_vcpu(bench: Bench) -> None:
    """What one notification is too long for is served from the event loop."""
    bench.set_up()
    left = 20

    def shout(queue: Virtqueue) -> None:
        nonlocal left
        for chain in queue.chains():
            queue.push(chain)
            if left:
                left -= 1
                bench.driver.offer(0)

    bench.model.notify = shout  # type: ignore[method-assign]
    bench.driver.describe(0, BUFFERS, 1)
    bench.driver.offer(0)
    life = asyncio.create_task(bench.device.run())
    bench.notify()
    stats = bench.device.queues[0].stats
    assert stats.used == 8, "as many as the queue holds"
    async with asyncio.timeout(60):
        while left or stats.used < 21:
            await asyncio.sleep(0)
    life.cancel()
    await asyncio.wait([life])


_WRITES = st.tuples(
    st.sampled_from(Register) | st.integers(0, 0x1FF),
    st.sampled_from(Width),
    st.integers(0, 2**64 - 1) | st.integers(0, 256) | st.just(RAM) | st.just(int(READY)),
)


@given(st.lists(_WRITES, max_size=60), st.binary(max_size=400), st.booleans())
def test_whatever_a_guest_writes_nothing_raises(writes: list[tuple[int, Width, int]], junk: bytes, event_index: bool) -> None:
    bench = Bench()
    bench.set_up(features=RING_FEATURES if event_index else F_VERSION_1)
    bench.memory.write(RAM, junk)
    for offset, width, value in writes:
        bench.write(offset, value & (1 << 8 * width) - 1, width)
        bench.read(offset, width)
    assert bench.read(Register.MAGIC_VALUE) == int.from_bytes(b"virt", "little")
    assert len(bench.memory.read(RAM, RAM_SIZE)) == RAM_SIZE
