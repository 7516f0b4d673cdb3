"""Disks that are files: what reaches the file, on which threads, and what happens when something ends meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from avmm.affinity import share_core
from avmm.plugin import DeviceLock, Width
from avmm_virtio import BlockRequest, FileBlockdev
from avmm_virtio.block.device import F_CONFIG_WCE, F_FLUSH
from avmm_virtio.block.file import open_image
from avmm_virtio.block.request import RequestType
from avmm_virtio.block.workers import Workers
from avmm_virtio.registers import CONFIG, F_VERSION_1, Register
from tests.unit.virtio.block.disk import BlkBench, MemoryDisk, segment
from tests.unit.virtio.ring import BUFFERS

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = RequestType
SECTOR = bytes(range(256)) * 2
SIZE = 1 << 20


class FileBench(BlkBench):
    """A file as a disk, whose requests are waited for."""

    def __init__(self, path: Path, *, read_only: bool = False, discard: bool = True, features: int = F_VERSION_1) -> None:
        self.file = FileBlockdev("disk0", open_image(str(path), read_only=read_only), read_only=read_only, discard=discard)
        super().__init__(self.file, features)
        self.file.connect(self)
        self._completion = threading.Condition()

    @property
    def lock(self) -> DeviceLock:
        return self.blk.lock

    def afterwards(self, work: Callable[[], None]) -> bool:
        return self.blk.afterwards(work)

    def completed(self, requests: Sequence[BlockRequest]) -> None:
        self.blk.completed(requests)
        with self._completion:
            self._completion.notify_all()

    def capacity_changed(self) -> None:
        self.blk.capacity_changed()

    def ask(self, kind: int, sector: int = 0, data: bytes = b"", room: int = 0) -> int:
        super().ask(kind, sector, data, room)
        self.settle()
        return self.status((self.slot - 1) % 4)

    def settle(self, left: int = 0) -> None:
        """Until no more than `left` requests are under way."""
        with self._completion:
            assert self._completion.wait_for(lambda: self.device.queues[0].stats.depth <= left, 60)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"\x55" * SIZE)
    return path


@pytest.fixture
def bench(image: Path) -> Iterator[FileBench]:
    bench = FileBench(image)
    yield bench
    asyncio.run(end(bench))


async def end(bench: FileBench) -> None:
    """As the machine's end is for the disk."""
    running = asyncio.create_task(bench.device.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


class Held:
    """A system call that a thread is in until it is let go."""

    def __init__(self) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.entered.set()
        assert self.let_go.wait(60)


@pytest.fixture
def held_write(monkeypatch: pytest.MonkeyPatch) -> Held:
    held, real = Held(), os.pwritev

    def pwritev(fd: int, views: Sequence[memoryview], at: int, flags: int = 0) -> int:
        held.wait()
        return real(fd, views, at, flags)

    monkeypatch.setattr(os, "pwritev", pwritev)
    return held


def test_what_is_written_is_in_the_file(bench: FileBench, image: Path) -> None:
    assert bench.ask(OUT, 3, SECTOR) == 0
    assert image.read_bytes()[3 * 512 : 4 * 512] == SECTOR
    assert bench.ask(IN, 3, room=512) == 0
    assert bench.data(1, 512) == SECTOR
    assert bench.file.in_place == 1, "the page cache had it"
    assert bench.flush() == 0
    assert bench.blk.flushes.buckets[0] == 1


def test_what_the_page_cache_has_not_is_read_on_a_thread(bench: FileBench, monkeypatch: pytest.MonkeyPatch) -> None:
    real, threads = os.preadv, list[int]()

    def preadv(fd: int, views: Sequence[memoryview], at: int, flags: int = 0) -> int:
        if flags & os.RWF_NOWAIT:
            raise BlockingIOError
        threads.append(threading.get_ident())
        return real(fd, [views[0][:100]], at)  # as little as it likes

    monkeypatch.setattr(os, "preadv", preadv)
    assert bench.ask(IN, 3, room=512) == 0
    assert bench.data(0, 512) == b"\x55" * 512
    assert (len(threads), bench.file.in_place) == (6, 0)
    assert threading.get_ident() not in threads


def test_a_flush_is_completed_by_fdatasync_and_a_write_without_cache_by_its_own(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_write, real_sync = os.pwritev, os.fdatasync

    def pwritev(fd: int, views: Sequence[memoryview], at: int, flags: int = 0) -> int:
        calls.append(f"write {flags}")
        return real_write(fd, views, at, flags)

    def fdatasync(fd: int) -> None:
        real_sync(fd)
        calls.append("sync")

    monkeypatch.setattr(os, "pwritev", pwritev)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    bench = FileBench(image, features=F_VERSION_1 | F_FLUSH | F_CONFIG_WCE)
    assert bench.ask(OUT, 0, SECTOR) == 0
    assert calls == ["write 0"]
    assert bench.flush() == 0
    assert calls == ["write 0", "sync"]
    bench.write(CONFIG + 32, 0, Width.W8)
    bench.ask(OUT, 0, SECTOR)
    bench.ask(WRITE_ZEROES, 0, segment(0, 1))
    assert calls[2:] == [f"write {os.RWF_DSYNC}", "sync"]
    asyncio.run(end(bench))


def test_what_is_discarded_is_given_back_to_the_host(bench: FileBench, image: Path) -> None:
    before = image.stat().st_blocks
    assert bench.ask(DISCARD, 0, segment(0, 1024)) == 0
    assert image.stat().st_blocks <= before - 1024
    assert image.read_bytes() == bytes(SIZE // 2) + b"\x55" * (SIZE // 2)
    assert image.stat().st_size == SIZE


@pytest.mark.parametrize(("discard", "unmap"), [(True, 1), (True, 0), (False, 1)])
def test_zeroes_are_given_back_only_where_that_is_wanted(image: Path, *, discard: bool, unmap: int) -> None:
    bench = FileBench(image, discard=discard)
    before = image.stat().st_blocks
    assert bench.ask(WRITE_ZEROES, 0, segment(0, 1024, unmap)) == 0
    assert (image.stat().st_blocks <= before - 1024) is (discard and bool(unmap))
    assert image.read_bytes() == bytes(SIZE // 2) + b"\x55" * (SIZE // 2)
    asyncio.run(end(bench))


def test_zeroes_are_written_where_the_file_system_knows_no_better(
    bench: FileBench, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(mode: int, at: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(bench.file, "_allocate", allocate)
    assert bench.ask(WRITE_ZEROES, 0, segment(1, 2000, 1)) == 0
    assert image.read_bytes() == b"\x55" * 512 + bytes(2000 * 512) + b"\x55" * (SIZE - 2001 * 512)
    assert bench.ask(DISCARD, 0, segment(0, 1)) == 2, "UNSUPP"


def test_an_image_that_was_cut_fails_requests_and_lives_on(bench: FileBench, image: Path) -> None:
    os.truncate(image, SIZE // 2)
    assert bench.ask(IN, SIZE // 512 - 1, room=512) == 1
    assert (bench.blk.failed, bench.file.failures) == (1, 1)
    assert bench.ask(IN, 0, room=512) == 0


async def test_another_size_is_seen_when_asked_for(image: Path) -> None:
    bench = FileBench(image)
    os.truncate(image, 2 * SIZE + 100)
    bench.blk.refresh()
    assert bench.field(0, "Q") == 2 * SIZE // 512
    assert bench.acknowledge() == 2
    bench.blk.refresh()
    assert bench.acknowledge() == 0
    await end(bench)


# What ends while something is under way.


def test_a_reset_waits_for_the_transfer_and_drops_the_rest(
    image: Path, held_write: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver may use its memory for something else as soon as the device is reset (2.4.1)."""
    monkeypatch.setattr("avmm_virtio.block.workers.MAX_WORKERS", 1)
    bench = FileBench(image)
    first, second = bench.put(OUT, 0, SECTOR), bench.put(OUT, 1, SECTOR)
    bench.notify()
    assert held_write.entered.wait(60)
    reset = threading.Thread(target=bench.write, args=(Register.STATUS, 0))
    waited, wait = threading.Event(), threading.Condition.wait

    def wait_and_tell(condition: threading.Condition, timeout: float | None = None) -> bool:
        if threading.current_thread() is reset:
            waited.set()
            held_write.let_go.set()
        return wait(condition, timeout)

    monkeypatch.setattr(threading.Condition, "wait", wait_and_tell)
    reset.start()
    reset.join(60)
    assert not reset.is_alive()
    assert waited.is_set()
    held_write.let_go.set()
    bench.memory.write(BUFFERS, b"\xee" * 0x2000)
    bench.settle()
    assert image.read_bytes()[:1024] == SECTOR + b"\x55" * 512
    asyncio.run(end(bench))
    assert (bench.status(first), bench.status(second), bench.blk.bytes_written) == (0xEE, 0xFF, 512)


async def test_a_pause_waits_for_the_transfer(image: Path, held_write: Held) -> None:
    bench = FileBench(image)
    number = bench.put(OUT, 0, SECTOR)
    bench.notify()
    assert await asyncio.to_thread(held_write.entered.wait, 60)
    quiesced = asyncio.create_task(bench.device.quiesce())
    await asyncio.sleep(0)
    assert not quiesced.done()
    held_write.let_go.set()
    await asyncio.wait_for(quiesced, 60)
    assert (bench.status(number), image.read_bytes()[:512]) == (0, SECTOR)
    await end(bench)


async def test_the_end_waits_for_the_transfer_and_closes_the_file(image: Path, held_write: Held) -> None:
    bench = FileBench(image)
    bench.put(OUT, 0, SECTOR)
    bench.put(OUT, 1, SECTOR)
    bench.notify()
    assert await asyncio.to_thread(held_write.entered.wait, 60)
    running = asyncio.create_task(bench.device.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for _ in range(3):  # however often it is cancelled
        running.cancel()
        await asyncio.sleep(0)
    assert not running.done()
    held_write.let_go.set()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(running, 60)
    assert image.read_bytes()[:1024] == SECTOR * 2
    open_image(str(image), read_only=False).close()  # nobody holds its lock


def test_while_one_waits_for_the_disk_others_do_not(bench: FileBench, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    monkeypatch.setattr(os, "fdatasync", lambda fd: held.wait())
    flush = bench.put(FLUSH)
    write = bench.put(OUT, 0, SECTOR)
    bench.notify()
    assert held.entered.wait(60)
    bench.settle(left=1)
    assert (bench.status(write), bench.status(flush)) == (0, 0xFF)
    held.let_go.set()
    bench.settle()
    assert bench.status(flush) == 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="takes two cores to be confined to one")
async def test_threads_may_run_on_any_core_whatever_those_who_make_and_begin_them_are_confined_to() -> None:
    allowed, seen = os.sched_getaffinity(0), list[set[int]]()
    leave = share_core(lambda: ())  # as another VM on this loop may do by now
    workers = Workers("disk0", lambda request: seen.append(os.sched_getaffinity(0)), lambda requests: None)
    leave()
    disk = MemoryDisk(quick=False)
    BlkBench(disk).flush()
    os.sched_setaffinity(0, {min(allowed)})
    try:
        workers.submit(*disk.held)
        await workers.close()
    finally:
        os.sched_setaffinity(0, allowed)
    assert seen == [allowed]


def test_a_burst_wakes_one_thread() -> None:
    """Threads that have nothing to wait for would only wait for each other."""
    workers = Workers("disk0", lambda request: None, lambda requests: None)
    idle = [threading.Lock() for _ in range(3)]
    for wake in idle:
        wake.acquire()
    workers._idle = [*idle]
    disk = MemoryDisk(quick=False)
    BlkBench(disk).flush()
    (request,) = disk.held
    for _ in range(4):
        workers.submit(request)
    assert [wake.locked() for wake in idle] == [True, True, False]
    workers._take(idle[2])  # that one has looked, and may be gone for long
    workers.about_to_block()
    workers.about_to_block()
    assert [wake.locked() for wake in idle] == [True, False, False]
