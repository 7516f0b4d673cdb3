"""The split virtqueue: virtio 1.2, 2.7, and a driver that writes anything anywhere."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.plugin import MemorySlot
from avmm_virtio import Chain, QueueError, SplitQueue
from tests.unit.virtio.ring import AVAILABLE, BUFFERS, DESCRIPTORS, INDIRECT, NEXT, RAM, RAM_SIZE, USED, WRITE, Driver

ROM = 0x2000_0000
AVAIL_EVENT = USED + 4 + 8 * 8
USED_EVENT = AVAILABLE + 4 + 2 * 8


def queue_of(driver: Driver, *, event_index: bool = False, indirect: bool = False) -> SplitQueue:
    queue = SplitQueue(driver.memory, 8)
    queue.size, queue.descriptors, queue.available, queue.used = driver.size, DESCRIPTORS, AVAILABLE, USED
    queue.event_index, queue.indirect = event_index, indirect
    queue.enable()
    return queue


def addresses(chain: Chain | None) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]]:
    """Head, buffers to read and buffers to write, as guest physical addresses."""
    assert chain is not None
    return (
        chain.head,
        [(RAM + offset, length) for _, offset, length in chain.readable],
        [(RAM + offset, length) for _, offset, length in chain.writable],
    )


def take(queue: SplitQueue) -> Chain:
    chain = queue.pop()
    assert chain is not None
    return chain


@pytest.fixture
def driver() -> Driver:
    return Driver()


def test_nothing_available_is_nothing(driver: Driver) -> None:
    assert queue_of(driver).pop() is None


def test_a_queue_that_is_not_set_up_gives_nothing(driver: Driver) -> None:
    driver.text(0, b"x")
    driver.offer(0)
    queue = queue_of(driver)
    queue.reset()
    assert queue.pop() is None
    assert not queue.wants_interrupt()


def test_a_chain_is_its_buffers_in_order(driver: Driver) -> None:
    driver.describe(3, BUFFERS, 5, NEXT, 1)
    driver.describe(1, BUFFERS + 16, 6, NEXT, 4)
    driver.describe(4, BUFFERS + 32, 7, WRITE)
    driver.offer(3)
    assert addresses(queue_of(driver).pop()) == (3, [(BUFFERS, 5), (BUFFERS + 16, 6)], [(BUFFERS + 32, 7)])


def test_a_chain_of_as_many_descriptors_as_the_queue_holds_is_taken(driver: Driver) -> None:
    for index in range(8):
        driver.describe(index, BUFFERS, 1, NEXT if index < 7 else 0, index + 1)
    driver.offer(0)
    assert take(queue_of(driver)).readable_bytes == 8


def test_chains_come_in_the_order_they_were_offered_and_go_round_the_ring(driver: Driver) -> None:
    queue = queue_of(driver)
    for index in range(8):
        driver.describe(index, BUFFERS, 1)
    for index in [*range(8), 7, 3, 5]:
        driver.offer(index)
        assert take(queue).head == index
    assert queue.pop() is None


def test_several_chains_are_seen_at_once(driver: Driver) -> None:
    for index in range(3):
        driver.describe(index, BUFFERS, 1)
        driver.offer(index)
    queue = queue_of(driver)
    assert [take(queue).head for _ in range(3)] == [0, 1, 2]


class TestIndirect:
    """2.7.5.3."""

    TABLE = BUFFERS + 0x1000

    def table(self, driver: Driver, *descriptors: tuple[int, int, int, int]) -> None:
        driver.memory.write(self.TABLE, b"".join(struct.pack("<QIHH", *descriptor) for descriptor in descriptors))

    def test_its_buffers_are_the_chains(self, driver: Driver) -> None:
        self.table(driver, (BUFFERS, 5, NEXT, 2), (0, 0, 0, 0), (BUFFERS + 16, 6, WRITE, 0))
        driver.describe(7, self.TABLE, 48, INDIRECT | WRITE)  # WRITE means nothing here
        driver.offer(7)
        assert addresses(queue_of(driver, indirect=True).pop()) == (7, [(BUFFERS, 5)], [(BUFFERS + 16, 6)])

    def test_it_may_follow_others(self, driver: Driver) -> None:
        self.table(driver, (BUFFERS + 16, 6, WRITE, 0))
        driver.describe(0, BUFFERS, 5, NEXT, 1)
        driver.describe(1, self.TABLE, 16, INDIRECT)
        driver.offer(0)
        assert addresses(queue_of(driver, indirect=True).pop()) == (0, [(BUFFERS, 5)], [(BUFFERS + 16, 6)])

    @pytest.mark.parametrize(
        ("descriptor", "table", "message"),
        [
            ((TABLE, 16, INDIRECT | NEXT, 0), [(BUFFERS, 1, 0, 0)], "inside of a table or has a next one"),
            ((TABLE, 16, INDIRECT, 0), [(TABLE, 16, INDIRECT, 0)], "inside of a table or has a next one"),
            ((TABLE, 0, INDIRECT, 0), [], "an indirect table of 0 bytes"),
            ((TABLE, 24, INDIRECT, 0), [], "an indirect table of 24 bytes"),
            ((0x100, 16, INDIRECT, 0), [], "an indirect table of 16 bytes at 0x100, where no memory is"),
            ((TABLE, 16, INDIRECT, 0), [(BUFFERS, 1, NEXT, 1)], "descriptor 1 is outside a table of 1"),
            ((TABLE, 16, INDIRECT, 0), [(BUFFERS, 1, NEXT, 0)], "does not end"),
            ((TABLE, 144, INDIRECT, 0), [(BUFFERS, 1, NEXT, n + 1) for n in range(8)] + [(BUFFERS, 1, 0, 0)], "does not end"),
        ],
    )
    def test_a_broken_one_is_told(
        self, driver: Driver, descriptor: tuple[int, int, int, int], table: list[tuple[int, int, int, int]], message: str
    ) -> None:
        self.table(driver, *table)
        driver.describe(0, *descriptor)
        driver.offer(0)
        with pytest.raises(QueueError, match=message):
            queue_of(driver, indirect=True).pop()


def give_back(driver: Driver, queue: SplitQueue, count: int) -> None:
    for _ in range(count):
        driver.describe(0, BUFFERS, 1)
        driver.offer(0)
        queue.push(take(queue), 0)


def test_a_used_chain_shows_its_head_and_length(driver: Driver) -> None:
    queue = queue_of(driver)
    driver.describe(5, BUFFERS, 12, WRITE)
    driver.describe(2, BUFFERS, 1)
    driver.offer(5)
    driver.offer(2)
    first, second = take(queue), take(queue)
    assert not queue.wants_interrupt()
    queue.push(second, 0)
    queue.push(first, 12)
    assert driver.used() == [(2, 0), (5, 12)]
    assert not queue.is_current(first)
    assert queue.wants_interrupt()
    assert not queue.wants_interrupt()


def test_a_chain_of_before_a_reset_is_not_current(driver: Driver) -> None:
    queue = queue_of(driver)
    driver.describe(0, BUFFERS, 1)
    driver.offer(0)
    chain = take(queue)
    assert queue.is_current(chain)
    queue.reset()
    assert not queue.is_current(chain)


def test_the_driver_may_want_no_interrupt(driver: Driver) -> None:
    """2.7.7: VIRTQ_AVAIL_F_NO_INTERRUPT."""
    queue = queue_of(driver)
    give_back(driver, queue, 1)
    driver.memory.write(AVAILABLE, b"\1\0")
    assert not queue.wants_interrupt()


class TestEventIndex:
    """2.7.7.1, 2.7.10."""

    @pytest.mark.parametrize(
        ("count", "used_event", "wanted"),
        [(1, 0, True), (1, 1, False), (3, 1, True), (3, 2, True), (3, 3, False), (1, 0xFFFF, False), (3, 0x8000, False)],
    )
    def test_an_interrupt_comes_when_the_index_passes_used_event(
        self, driver: Driver, count: int, used_event: int, wanted: bool
    ) -> None:
        queue = queue_of(driver, event_index=True)
        driver.memory.write(USED_EVENT, used_event.to_bytes(2, "little"))
        driver.memory.write(AVAILABLE, b"\1\0")  # means nothing with an event index
        give_back(driver, queue, count)
        assert queue.wants_interrupt() is wanted

    def test_it_does_so_round_the_end_of_16_bits(self, driver: Driver) -> None:
        queue = queue_of(driver, event_index=True)
        queue._next_avail = queue._avail_seen = queue._used_index = queue._signalled = driver.available = 0xFFFE
        driver.memory.write(USED_EVENT, b"\0\0")
        give_back(driver, queue, 2)
        assert not queue.wants_interrupt()
        give_back(driver, queue, 1)
        assert queue.wants_interrupt()

    def test_an_empty_queue_asks_to_be_notified_of_the_next_chain(self, driver: Driver) -> None:
        queue = queue_of(driver, event_index=True)
        driver.memory.write(AVAIL_EVENT, b"\xee\xee")
        give_back(driver, queue, 2)
        assert driver.memory.read(AVAIL_EVENT, 2) == b"\xee\xee"
        assert queue.pop() is None
        assert driver.memory.read(AVAIL_EVENT, 2) == b"\2\0"

    def test_a_chain_that_comes_just_before_it_asks_is_not_missed(self, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = queue_of(driver, event_index=True)
        driver.describe(0, BUFFERS, 1)

        class Fence:
            """The driver offers a chain between the two looks."""

            def __enter__(self) -> None:
                assert driver.memory.read(AVAIL_EVENT, 2) == b"\0\0"
                driver.offer(0)

            def __exit__(self, *_: object) -> None:
                pass

        monkeypatch.setattr("avmm_virtio.queue._FENCE", Fence())
        assert take(queue).head == 0


@pytest.mark.parametrize(
    ("descriptors", "message"),
    [
        ([(BUFFERS, 1, NEXT, 0)], "a descriptor chain that does not end"),
        ([(BUFFERS, 1, NEXT, 1), (BUFFERS, 1, NEXT, 0)], "a descriptor chain that does not end"),
        ([(BUFFERS, 1, NEXT, 8)], "descriptor 8 is outside a table of 8"),
        ([(BUFFERS, 16, INDIRECT, 0)], "an indirect descriptor, which was not negotiated"),
        ([(BUFFERS, 1, WRITE | NEXT, 1), (BUFFERS, 1, 0, 0)], "a buffer to read behind one to write"),
        ([(0x900_0000, 4, 0, 0)], "a buffer of 4 bytes at 0x9000000, where no memory is"),
        ([(RAM + RAM_SIZE - 4, 5, 0, 0)], "a buffer of 5 bytes at 0x4000fffc, where no memory is"),
        ([(2**64 - 1, 2**32 - 1, 0, 0)], "a buffer of 4294967295 bytes at 0xffffffffffffffff, where no memory is"),
        ([(ROM, 4, WRITE, 0)], "a buffer of 4 bytes at 0x20000000, where memory is read-only"),
    ],
)
def test_a_broken_chain_is_told(driver: Driver, descriptors: list[tuple[int, int, int, int]], message: str) -> None:
    driver.memory.add(MemorySlot(ROM, 0x1000, name="rom", read_only=True))
    for index, descriptor in enumerate(descriptors):
        driver.describe(index, *descriptor)
    driver.offer(0)
    with pytest.raises(QueueError) as caught:
        queue_of(driver).pop()
    assert str(caught.value) == message


def test_a_head_outside_the_queue_is_told(driver: Driver) -> None:
    driver.offer(8)
    with pytest.raises(QueueError, match="descriptor 8 is outside"):
        queue_of(driver).pop()


def test_more_chains_than_the_queue_holds_are_told(driver: Driver) -> None:
    driver.memory.write(AVAILABLE + 2, (9).to_bytes(2, "little"))
    with pytest.raises(QueueError, match="9 chains are available in a queue of 8"):
        queue_of(driver).pop()


@pytest.mark.parametrize("size", [0, 3, 16, 2**32 - 1])
def test_a_size_that_is_none_is_told(driver: Driver, size: int) -> None:
    driver.size = size
    with pytest.raises(QueueError, match=f"a queue size of {size} is not a power of 2 up to 8"):
        queue_of(driver)


@pytest.mark.parametrize("part", ["descriptors", "available", "used"])
@pytest.mark.parametrize("address", [0, RAM - 0x1000, RAM + RAM_SIZE, 2**64 - 16, RAM + RAM_SIZE - 16])
def test_a_part_that_is_not_in_memory_is_told(driver: Driver, part: str, address: int) -> None:
    queue = queue_of(driver)
    setattr(queue, part, address)
    with pytest.raises(QueueError, match=f"bytes at {address:#x}, where no memory is"):
        queue.enable()


@pytest.mark.parametrize(("part", "odd"), [("descriptors", 8), ("available", 1), ("used", 2)])
def test_a_part_that_is_not_aligned_is_told(driver: Driver, part: str, odd: int) -> None:
    queue = queue_of(driver)
    setattr(queue, part, RAM + odd)
    with pytest.raises(QueueError, match="not aligned to 16, 2, 4 bytes"):
        queue.enable()


class TestChain:
    """How a chain's buffers are read and written."""

    @pytest.fixture
    def chain(self, driver: Driver) -> Chain:
        driver.text(0, b"Hello, ", NEXT, 1)
        driver.text(1, b"", NEXT, 2)
        driver.text(2, b"world", NEXT, 3)
        driver.text(3, b"....", WRITE | NEXT, 4)
        driver.text(4, b"......", WRITE)
        driver.offer(0)
        return take(queue_of(driver))

    @pytest.mark.parametrize(
        ("offset", "size", "data"),
        [(0, None, b"Hello, world"), (0, 5, b"Hello"), (3, 6, b"lo, wo"), (8, None, b"orld"), (12, 1, b""), (99, None, b"")],
    )
    def test_reading(self, chain: Chain, offset: int, size: int | None, data: bytes) -> None:
        assert chain.read(offset, size) == data
        assert b"".join(chain.readable_views(offset, size)) == data
        assert all(view.readonly for view in chain.readable_views(offset, size))

    @pytest.mark.parametrize(("offset", "size", "data"), [(0, None, b"Hello"), (1, 3, b"ell"), (1, 9, b"ello"), (9, None, b"")])
    def test_reading_one_buffer(self, driver: Driver, offset: int, size: int | None, data: bytes) -> None:
        driver.text(0, b"Hello")
        driver.memory.write(BUFFERS + 5, b"not ours")
        driver.offer(0)
        assert take(queue_of(driver)).read(offset, size) == data

    @pytest.mark.parametrize(
        ("data", "offset", "stored", "after"),
        [
            (b"ab", 0, 2, b"ab........"),
            (b"abcdef", 1, 6, b".abcdef..."),
            (b"abcdefghijkl", 0, 10, b"abcdefghij"),
            (b"ab", 9, 1, b".........a"),
            (b"ab", 10, 0, b".........."),
            (b"", 0, 0, b".........."),
        ],
    )
    def test_writing(self, driver: Driver, chain: Chain, data: bytes, offset: int, stored: int, after: bytes) -> None:
        assert chain.write(data, offset) == stored
        memory = driver.memory
        assert memory.read(BUFFERS + 0x300, 4) + memory.read(BUFFERS + 0x400, 6) == after
        assert b"".join(chain.writable_views()) == after

    def test_its_sizes(self, chain: Chain) -> None:
        assert (chain.readable_bytes, chain.writable_bytes) == (12, 10)


_ADDRESS = st.one_of(st.integers(0, 2**64 - 1), st.integers(RAM - 32, RAM + RAM_SIZE))
_DESCRIPTOR = st.tuples(_ADDRESS, st.integers(0, 2**32 - 1) | st.integers(0, 300), st.integers(0, 7), st.integers(0, 9))


@given(
    st.lists(_DESCRIPTOR, min_size=8, max_size=8),
    st.lists(st.integers(0, 9), min_size=8, max_size=8),
    st.integers(0, 65535) | st.integers(0, 9),
    st.sampled_from([1, 2, 4, 8]),
    st.booleans(),
    st.booleans(),
)
def test_whatever_a_driver_writes_a_chain_is_sound_or_there_is_none(
    descriptors: list[tuple[int, int, int, int]],
    ring: list[int],
    index: int,
    size: int,
    event_index: bool,
    indirect: bool,
) -> None:
    driver = Driver(size)
    for number, descriptor in enumerate(descriptors):
        driver.describe(number, *descriptor)
    driver.memory.write(AVAILABLE, struct.pack("<HH8H", 0, index, *ring))
    queue = queue_of(driver, event_index=event_index, indirect=indirect)
    taken = 0
    with suppress(QueueError):
        while (chain := queue.pop()) is not None:
            taken += 1
            assert chain.head < size
            assert 1 <= len(chain.readable) + len(chain.writable) <= size
            for _, offset, length in (*chain.readable, *chain.writable):
                assert 0 <= offset <= offset + length <= RAM_SIZE
            queue.push(chain, 0)
            queue.wants_interrupt()
    assert taken <= size
