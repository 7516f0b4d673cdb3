"""The split virtqueue: virtio 1.1, 2.6, and a driver that writes anything anywhere."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm_virtio import Chain, QueueError, SplitQueue
from tests.unit.virtio.ring import AVAILABLE, BUFFERS, DESCRIPTORS, INDIRECT, NEXT, RAM, RAM_SIZE, USED, WRITE, Driver


def queue_of(driver: Driver) -> SplitQueue:
    queue = SplitQueue(driver.memory, 8)
    queue.size, queue.descriptors, queue.available, queue.used, queue.ready = driver.size, DESCRIPTORS, AVAILABLE, USED, True
    return queue


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


def test_a_chain_is_its_buffers_in_order(driver: Driver) -> None:
    driver.describe(3, BUFFERS, 5, NEXT, 1)
    driver.describe(1, BUFFERS + 16, 6, NEXT, 4)
    driver.describe(4, BUFFERS + 32, 7, WRITE)
    driver.offer(3)
    assert queue_of(driver).pop() == Chain(3, ((BUFFERS, 5), (BUFFERS + 16, 6)), ((BUFFERS + 32, 7),))


def test_chains_come_in_the_order_they_were_offered_and_go_round_the_ring(driver: Driver) -> None:
    queue = queue_of(driver)
    for index in range(8):
        driver.describe(index, BUFFERS, 1)
    for index in [*range(8), 7, 3, 5]:
        driver.offer(index)
        chain = queue.pop()
        assert chain is not None
        assert chain.head == index
    assert queue.pop() is None


def test_a_used_chain_shows_its_head_and_length(driver: Driver) -> None:
    queue = queue_of(driver)
    assert queue.push(5, 12)
    assert queue.push(2, 0)
    assert driver.used() == [(5, 12), (2, 0)]


def test_the_driver_may_want_no_interrupt(driver: Driver) -> None:
    """2.6.7: VIRTQ_AVAIL_F_NO_INTERRUPT."""
    driver.memory.write(AVAILABLE, b"\1\0")
    assert not queue_of(driver).push(0, 0)


@pytest.mark.parametrize(
    ("descriptors", "message"),
    [
        ([(BUFFERS, 1, NEXT, 0)], "a descriptor chain that does not end"),
        ([(BUFFERS, 1, NEXT, 1), (BUFFERS, 1, NEXT, 0)], "a descriptor chain that does not end"),
        ([(BUFFERS, 1, NEXT, 8)], "descriptor 8 is outside a queue of 8"),
        ([(BUFFERS, 16, INDIRECT, 0)], "an indirect descriptor, which was not offered"),
        ([(BUFFERS, 1, WRITE | NEXT, 1), (BUFFERS, 1, 0, 0)], "a buffer to read behind one to write"),
        ([(0x900_0000, 4, 0, 0)], "a buffer of 4 bytes at 0x9000000, where no memory is"),
        ([(RAM + RAM_SIZE - 4, 5, 0, 0)], "a buffer of 5 bytes at 0x4000fffc, where no memory is"),
        ([(2**64 - 1, 2**32 - 1, 0, 0)], "a buffer of 4294967295 bytes at 0xffffffffffffffff, where no memory is"),
    ],
)
def test_a_broken_chain_is_told(driver: Driver, descriptors: list[tuple[int, int, int, int]], message: str) -> None:
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
    queue = queue_of(driver)
    queue.size = size
    with pytest.raises(QueueError, match=f"a queue size of {size} is not a power of 2 up to 8"):
        queue.pop()


@pytest.mark.parametrize("part", ["descriptors", "available", "used"])
@pytest.mark.parametrize("address", [0, RAM - 0x1000, RAM + RAM_SIZE, 2**64])
def test_a_part_that_is_not_in_memory_is_told(driver: Driver, part: str, address: int) -> None:
    driver.text(0, b"x")
    driver.offer(0)
    queue = queue_of(driver)
    setattr(queue, part, address)
    with pytest.raises(QueueError, match="guest memory has no"):
        queue.push(queue.pop().head, 0)  # type: ignore[union-attr]


_ADDRESS = st.one_of(st.integers(0, 2**64 - 1), st.integers(RAM - 32, RAM + RAM_SIZE))
_DESCRIPTOR = st.tuples(_ADDRESS, st.integers(0, 2**32 - 1) | st.integers(0, 300), st.integers(0, 7), st.integers(0, 9))


@given(
    st.lists(_DESCRIPTOR, min_size=8, max_size=8),
    st.lists(st.integers(0, 9), min_size=8, max_size=8),
    st.integers(0, 65535) | st.integers(0, 9),
    st.sampled_from([1, 2, 4, 8]),
)
def test_whatever_a_driver_writes_a_chain_is_sound_or_there_is_none(
    descriptors: list[tuple[int, int, int, int]], ring: list[int], index: int, size: int
) -> None:
    driver = Driver(size)
    for number, descriptor in enumerate(descriptors):
        driver.describe(number, *descriptor)
    driver.memory.write(AVAILABLE, struct.pack("<HH8H", 0, index, *ring))
    queue = queue_of(driver)
    taken: list[Chain] = []
    with suppress(QueueError):
        while (chain := queue.pop()) is not None:
            taken.append(chain)
            queue.push(chain.head, 0)
    assert len(taken) <= size
    for chain in taken:
        assert chain.head < size
        assert 1 <= len(chain.readable) + len(chain.writable) <= size
        assert all(driver.memory.find(*buffer) is not None for buffer in (*chain.readable, *chain.writable))
