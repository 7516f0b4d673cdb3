"""The block device (virtio 1.2, 5.2), with a disk and a driver that are both ours."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.plugin import Device, DeviceOptions, Width
from avmm.testing.contract import DeviceContract
from avmm_virtio import create_blk
from avmm_virtio.block.device import (
    F_BLK_SIZE,
    F_CONFIG_WCE,
    F_DISCARD,
    F_FLUSH,
    F_MQ,
    F_RO,
    F_SEG_MAX,
    F_TOPOLOGY,
    F_WRITE_ZEROES,
)
from avmm_virtio.block.request import MAX_RANGE_SECTORS, MAX_SEGMENTS, RequestStatus, RequestType
from avmm_virtio.registers import CONFIG, F_EVENT_IDX, F_RING_RESET, F_VERSION_1, Register, Status
from tests.unit.virtio.block.disk import SECTORS, BlkBench, MemoryDisk, segment
from tests.unit.virtio.fuzz import Step, drive, start_again, step, steps
from tests.unit.virtio.modern import RING_FEATURES
from tests.unit.virtio.ring import AVAILABLE, BUFFERS, NEXT, WRITE

OK, IOERR, UNSUPP, NOTHING = *RequestStatus, 0xFF
IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = RequestType
SECTOR = bytes(range(256)) * 2


class TestContract(DeviceContract):
    @pytest.fixture(autouse=True)
    def _image(self, tmp_path: Path) -> None:
        self.image = tmp_path / "disk.img"
        self.image.write_bytes(bytes(1 << 20))
        self.made = 0

    def make_device(self, options: DeviceOptions) -> Device:
        # Some of its tests make several, and nobody may write where somebody else does.
        self.made += 1
        image = self.image.with_suffix(f".{self.made}")
        image.write_bytes(self.image.read_bytes())
        return create_blk(replace(options, options={"file": str(image)}))


def test_what_is_written_is_read() -> None:
    bench = BlkBench(MemoryDisk())
    assert bench.ask(OUT, 3, SECTOR * 2) == OK
    assert bench.read_disk(3, 1024) == SECTOR * 2
    assert bench.read_disk(5) == bytes(512)
    assert bench.driver.used() == [(0, 1), (4, 1025), (8, 513)]
    assert bench.irq
    assert (bench.blk.bytes_written, bench.blk.bytes_read) == (1024, 1536)


def test_a_request_may_be_cut_anywhere() -> None:
    """2.7.4.2: nothing depends on the framing of messages."""
    bench = BlkBench(MemoryDisk())
    bench.memory.write(BUFFERS, OUT.to_bytes(4, "little") + bytes(4) + (7).to_bytes(8, "little") + SECTOR)
    for index, (at, size) in enumerate(((0, 3), (3, 1), (4, 20), (24, 504))):
        bench.driver.describe(index, BUFFERS + at, size, NEXT, index + 1)
    bench.driver.describe(4, BUFFERS + 0x1000, 1, WRITE)
    bench.driver.offer(0)
    bench.memory.write(BUFFERS + 0x2000, IN.to_bytes(4, "little") + bytes(4) + (7).to_bytes(8, "little"))
    bench.driver.describe(5, BUFFERS + 0x2000, 16, NEXT, 6)
    bench.driver.describe(6, BUFFERS + 0x3000, 500, NEXT | WRITE, 7)
    bench.driver.describe(7, BUFFERS + 0x3000 + 500, 13, NEXT | WRITE, 8)
    bench.driver.describe(8, BUFFERS + 0x3800, 0, WRITE)  # an empty one behind the status
    bench.driver.offer(5)
    bench.notify()
    assert bench.driver.used() == [(0, 1), (5, 513)]
    assert bench.memory.read(BUFFERS + 0x3000, 513) == SECTOR + bytes((OK,))


@pytest.mark.parametrize(
    ("kind", "sector", "data", "room", "status"),
    [
        (IN, SECTORS, b"", 512, IOERR),
        (IN, SECTORS - 1, b"", 1024, IOERR),
        (IN, 2**64 - 1, b"", 512, IOERR),
        (IN, 0, b"", 511, IOERR),
        (IN, 0, b"", 0, IOERR),
        (OUT, SECTORS, SECTOR, 0, IOERR),
        (OUT, 2**55, SECTOR, 0, IOERR),
        (OUT, 0, SECTOR[:-1], 0, IOERR),
        (OUT, 0, b"", 0, IOERR),
        (DISCARD, 0, segment(SECTORS - 1, 2), 0, IOERR),
        (DISCARD, 0, segment(0, 1)[:-1], 0, IOERR),
        (DISCARD, 0, b"", 0, IOERR),
        (DISCARD, 0, segment(0, 1, 1), 0, UNSUPP),  # 5.2.6.2: unmap is for write zeroes
        (WRITE_ZEROES, 0, segment(0, 1, 2), 0, UNSUPP),
        (WRITE_ZEROES, 0, segment(2**64 - 1, 1), 0, IOERR),
        (WRITE_ZEROES, 0, segment(0, 1) * (MAX_SEGMENTS + 1), 0, IOERR),
        (GET_ID, 0, b"", 19, IOERR),
        (14, 0, segment(0, 1), 0, UNSUPP),  # secure erase
        (2, 0, b"", 512, UNSUPP),
        (0xFFFF_FFFF, 0, b"", 512, UNSUPP),
    ],
)
def test_what_cannot_be_is_refused_and_counted(kind: int, sector: int, data: bytes, room: int, status: int) -> None:
    disk = MemoryDisk()
    disk.content[:] = b"\x55" * len(disk.content)
    bench = BlkBench(disk)
    assert bench.ask(kind, sector, data, room) == status
    assert (bench.blk.refused, bench.faults) == (1, [])
    assert disk.content == b"\x55" * len(disk.content)
    assert bench.driver.used()[0][1] <= (0 if room else 1), "what lies before the status was not written"
    assert bench.ask(IN, 0, room=512) == OK


def test_a_range_larger_than_was_said_is_refused() -> None:
    disk = MemoryDisk()
    disk.capacity = (MAX_RANGE_SECTORS + 1) * 512
    bench = BlkBench(disk)
    assert bench.ask(DISCARD, 0, segment(0, MAX_RANGE_SECTORS + 1)) == IOERR


@pytest.mark.parametrize(("header", "room"), [(15, 1), (16, 0), (0, 1)])
def test_a_request_without_a_header_or_a_status_is_a_broken_rule(header: int, room: int) -> None:
    bench = BlkBench(MemoryDisk())
    bench.driver.describe(0, BUFFERS, header, NEXT, 1)
    bench.driver.describe(1, BUFFERS + 0x100, room, WRITE)
    bench.driver.offer(0)
    bench.notify()
    assert bench.read(Register.STATUS) & Status.NEEDS_RESET
    assert bench.faults == ["virtio: testdev: queue 0: a request without a whole header or room for its status"]


def test_the_configuration_says_what_there_is() -> None:
    bench = BlkBench(MemoryDisk(), queues=3)
    assert bench.blk.features == (
        F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE | F_MQ | F_DISCARD | F_WRITE_ZEROES
    )
    assert [bench.field(*at) for at in ((0, "Q"), (12, "I"), (20, "I"), (32, "B"), (34, "H"))] == [SECTORS, 254, 512, 1, 3]
    assert [bench.field(at, "I") for at in (36, 40, 44)] == [MAX_RANGE_SECTORS, MAX_SEGMENTS, 1]
    assert [bench.field(*at) for at in ((48, "I"), (52, "I"), (56, "B"))] == [MAX_RANGE_SECTORS, MAX_SEGMENTS, 1]
    assert len(bench.blk.config) == 60


def test_blocks_of_4096_bytes_are_told() -> None:
    disk = MemoryDisk()
    disk.block_size, disk.physical_block_size = 512, 4096
    bench = BlkBench(disk)
    assert [bench.field(*at) for at in ((20, "I"), (24, "B"), (25, "B"), (26, "H"), (28, "I"))] == [512, 3, 0, 8, 0]
    assert bench.field(44, "I") == 8, "the alignment of what is worth discarding, in sectors"


def test_a_disk_that_cannot_be_written_is_not() -> None:
    disk = MemoryDisk(read_only=True)
    bench = BlkBench(disk)
    assert bench.blk.features & F_RO
    for kind, data in ((OUT, SECTOR), (DISCARD, segment(0, 1)), (WRITE_ZEROES, segment(0, 1))):
        assert bench.ask(kind, 0, data) == IOERR
    assert bench.ask(IN, 0, room=512) == OK
    assert bench.flush() == OK


def test_what_the_disk_cannot_do_is_not_offered() -> None:
    disk = MemoryDisk()
    disk.can_discard = disk.can_write_zeroes = False
    bench = BlkBench(disk)
    assert not bench.blk.features & (F_DISCARD | F_WRITE_ZEROES)
    assert bench.ask(DISCARD, 0, segment(0, 1)) == UNSUPP
    assert bench.ask(WRITE_ZEROES, 0, segment(0, 1)) == UNSUPP


def test_ranges_are_zeroed() -> None:
    disk = MemoryDisk()
    disk.content[:] = b"\x55" * len(disk.content)
    bench = BlkBench(disk)
    assert bench.ask(WRITE_ZEROES, 0, segment(1, 2) + segment(10, 1, 1)) == OK
    assert bench.ask(DISCARD, 0, segment(20, 3) + segment(0, 0)) == OK
    there = [sector for sector in range(SECTORS) if disk.content[sector * 512]]
    assert there == [sector for sector in range(SECTORS) if sector not in (1, 2, 10, 20, 21, 22)]
    assert bench.blk.requests[3] == bench.blk.requests[4] == 1


def test_the_serial_number_is_told() -> None:
    bench = BlkBench(MemoryDisk(), serial="a-serial-of-20-bytes")
    number = bench.put(GET_ID, room=20)
    bench.notify()
    assert (bench.status(number), bench.data(number, 21)) == (OK, b"a-serial-of-20-bytes\0")
    assert bench.driver.used() == [(0, 21)]


@pytest.mark.parametrize(("error", "status"), [(errno.EIO, IOERR), (errno.ENOSPC, IOERR), (errno.ENOTSUP, UNSUPP)])
def test_a_failure_of_the_disk_is_told_and_counted(error: int, status: int) -> None:
    disk = MemoryDisk()
    bench = BlkBench(disk)
    disk.error = error
    assert bench.ask(IN, 0, room=512) == status
    assert bench.flush() == status
    assert (bench.blk.failed, bench.blk.bytes_read, bench.blk.flushes.sum_ns) == (2, 0, 0)


# Requests that take a while.


def test_requests_are_completed_in_any_order_with_one_interrupt_a_batch() -> None:
    disk = MemoryDisk(quick=False)
    bench = BlkBench(disk)
    numbers = [bench.put(IN, sector, room=512) for sector in range(4)]
    bench.notify()
    assert [bench.status(number) for number in numbers] == [NOTHING] * 4
    assert bench.device.queues[0].stats.depth == 4
    disk.answer(last=True)
    assert [bench.status(number) for number in numbers] == [NOTHING, NOTHING, NOTHING, OK]
    assert bench.device.queues[0].stats.interrupts == 1
    disk.answer(3)
    assert [head for head, _ in bench.driver.used()] == [12, 0, 4, 8]
    assert bench.device.queues[0].stats.interrupts == 2


def test_the_driver_says_when_it_wants_an_interrupt() -> None:
    disk = MemoryDisk(quick=False)
    bench = BlkBench(disk, F_VERSION_1 | F_EVENT_IDX)
    bench.memory.write(AVAILABLE + 4 + 2 * 16, (2).to_bytes(2, "little"))  # used_event: with the third
    for sector in range(3):
        bench.put(IN, sector, room=512)
    bench.notify()
    for interrupts in (0, 0, 1):
        disk.answer()
        assert bench.device.queues[0].stats.interrupts == interrupts


def test_a_flush_is_timed_and_completed_when_it_is_done() -> None:
    disk = MemoryDisk(quick=False)
    bench = BlkBench(disk)
    assert bench.flush() == NOTHING
    bench.clock.advance(5_000)
    disk.answer()
    assert bench.status(0) == OK
    assert (bench.blk.flushes.sum_ns, disk.flushes) == (5_000, 1)


@pytest.mark.parametrize("end", ["reset", "broken", "queue"])
def test_what_is_under_way_at_a_reset_is_forgotten(end: str) -> None:
    disk = MemoryDisk(quick=False)
    bench = BlkBench(disk, F_VERSION_1 | F_RING_RESET)
    number = bench.put(IN, 0, room=512)
    bench.put(OUT, 1, SECTOR)
    bench.notify()
    late = disk.held.pop(0)
    match end:
        case "reset":
            bench.write(Register.STATUS, 0)
        case "broken":
            bench.driver.offer(99)
            bench.notify()
        case _:
            bench.write(Register.QUEUE_RESET, 1)
    assert disk.held == [], "what had not begun never will"
    bench.blk.completed([late])
    assert (bench.status(number), bench.device.queues[0].stats.depth) == (NOTHING, 0)
    start_again(bench)
    bench.slot = 0
    assert bench.ask(OUT, 1, SECTOR) == NOTHING
    disk.answer()
    assert bench.status(0) == OK


def test_a_queue_that_is_reset_leaves_the_others_alone() -> None:
    disk = MemoryDisk(quick=False)
    bench = BlkBench(disk, F_VERSION_1 | F_RING_RESET, queues=2)
    number = bench.put(IN, 0, room=512)
    bench.notify()
    bench.write(Register.QUEUE_SEL, 1)
    bench.write(Register.QUEUE_RESET, 1)
    disk.answer()
    assert bench.status(number) == OK


async def test_a_pause_waits_for_what_is_under_way_and_begins_nothing() -> None:
    disk = MemoryDisk(quick=False)
    bench = BlkBench(disk)
    running = asyncio.create_task(bench.device.run())
    first = bench.put(IN, 0, room=512)
    bench.notify()
    quiesced = asyncio.create_task(bench.device.quiesce())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not quiesced.done()
    assert bench.ask(IN, 1, room=512) == NOTHING
    await asyncio.to_thread(disk.answer)
    await asyncio.wait_for(quiesced, 60)
    assert (bench.status(first), disk.held) == (OK, [])
    await bench.device.resume()
    async with asyncio.timeout(60):
        while not disk.held:
            await asyncio.sleep(0)
    disk.answer()
    assert bench.status(1) == OK
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_pause_of_a_disk_at_rest_is_at_once() -> None:
    bench = BlkBench(MemoryDisk())
    await bench.device.quiesce()
    await bench.device.resume()
    await bench.device.quiesce()


# The write cache.


@pytest.mark.parametrize(
    ("features", "writeback", "durable"),
    [
        (F_FLUSH | F_CONFIG_WCE, True, False),
        (F_FLUSH | F_CONFIG_WCE, False, True),
        (F_FLUSH, True, False),
        (F_FLUSH, False, True),
        (0, True, True),  # who cannot flush is owed a disk without a cache (5.2.6.2)
        (F_CONFIG_WCE, True, True),
    ],
)
def test_a_write_is_durable_when_it_must_be(features: int, *, writeback: bool, durable: bool) -> None:
    disk = MemoryDisk()
    bench = BlkBench(disk, F_VERSION_1 | features, writeback=writeback)
    assert bench.ask(OUT, 0, SECTOR) == OK
    assert disk.durable == [durable]
    assert not features & F_CONFIG_WCE or bool(bench.field(32, "B")) is not durable


def test_the_driver_switches_the_cache() -> None:
    disk = MemoryDisk()
    bench = BlkBench(disk, F_VERSION_1 | F_FLUSH | F_CONFIG_WCE)
    for value in (0, 1):
        bench.write(CONFIG + 32, value, Width.W8)
        assert bench.read(CONFIG + 32, Width.W8) == value
        bench.ask(OUT, 0, SECTOR)
    assert disk.durable == [True, False]
    bench.write(CONFIG + 32, 0, Width.W8)
    bench.write(Register.STATUS, 0)
    assert bench.read(CONFIG + 32, Width.W8) == 1, "a reset brings the machine's own choice back"


def test_the_cache_is_not_switched_without_the_feature_nor_anything_else_ever() -> None:
    bench = BlkBench(MemoryDisk(), F_VERSION_1 | F_FLUSH)
    before = bench.blk.config
    bench.write(CONFIG + 32, 0, Width.W8)
    for offset in range(0, 60, 4):
        bench.write(CONFIG + offset, 0x5555_5555)
    assert bench.blk.config == before


def test_another_size_is_told_to_the_driver() -> None:
    disk = MemoryDisk()
    bench = BlkBench(disk)
    generation = bench.read(Register.CONFIG_GENERATION)
    disk.grow(8)
    assert bench.field(0, "Q") == SECTORS + 8
    assert bench.read(Register.CONFIG_GENERATION) != generation
    assert bench.acknowledge() == 2
    assert bench.ask(IN, SECTORS + 7, room=512) == OK


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from([F_VERSION_1, RING_FEATURES | F_FLUSH | F_CONFIG_WCE | F_RING_RESET]),
    st.booleans(),
    steps(2, step("answer", 5), step("last", 1), st.tuples(st.just("ask"), st.tuples(st.integers(0, 15), st.integers(0, 80)))),
)
def test_whatever_a_driver_does_it_goes_on(features: int, quick: bool, done: list[Step]) -> None:
    disk = MemoryDisk(quick=quick)
    bench = BlkBench(disk, features, queues=2)
    for name, numbers in done:
        match name:
            case "answer":
                disk.answer(*numbers)
            case "last":
                disk.answer(last=True)
            case "ask":
                kind, sector = numbers
                bench.ask(kind, sector, SECTOR, 512)
            case _:
                drive(bench, name, numbers)
    disk.answer(99)
    assert bench.blk._under_way == 0
    start_again(bench)
    bench.slot = 0
    disk.quick = True
    assert bench.ask(OUT, 5, SECTOR) == OK
    assert bench.read_disk(5) == SECTOR
