"""Writes that the thread of a vCPU carries out where it notifies: when it does, when not, and what ends meanwhile."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from avmm.bus import Bus, Region
from avmm_virtio.block.device import F_CONFIG_WCE, F_FLUSH
from avmm_virtio.block.file import open_image
from avmm_virtio.block.request import RequestType
from avmm_virtio.block.workers import AWAY_NS, SLOW_NS, _times_slept
from avmm_virtio.registers import CONFIG, F_VERSION_1, Register
from tests.unit.virtio.block.test_file import SECTOR, SIZE, FileBench, Held, end

OUT, FLUSH = RequestType.OUT, RequestType.FLUSH


class Machine(FileBench):
    """A disk on a bus, and a vCPU. `writers` are the threads that wrote to the file."""

    def __init__(self, path: Path, features: int = F_VERSION_1) -> None:
        super().__init__(path, features=features)
        self.bus = Bus(self.options.lock, self._fault)
        self.bus.add(0, self.device, "disk0")
        self.writers: list[threading.Thread] = []
        self.held: Held | None = None
        """What a write waits for."""
        self.now_ns = self.takes_ns = 0
        """Host time, and how much of it a write takes."""
        self.slept, self.sleeps = 0, True
        """How often a thread slept, and whether it does in a write."""
        self.file._workers._now_ns = lambda: self.now_ns

    def _fault(self, region: Region, error: Exception) -> None:
        raise AssertionError(region.name) from error

    def pwritev(self, fd: int, views: Sequence[memoryview], at: int, flags: int = 0) -> int:
        self.writers.append(threading.current_thread())
        self.now_ns += self.takes_ns
        self.slept += self.sleeps
        if self.held is not None:
            self.held.wait()
        return sum(os.pwrite(fd, view, at) for view in views)

    def guest_notifies(self) -> threading.Thread:
        """On a thread of its own, which may not be done when this returns."""
        vcpu = threading.Thread(target=self.bus.write, args=(Register.QUEUE_NOTIFY, 4, 0))
        vcpu.start()
        return vcpu

    def guest_writes(self, count: int = 1) -> list[bool]:
        """So many writes of a sector, one notification; for each whether the vCPU's thread carried it out, in some order."""
        numbers = [self.put(OUT, sector, SECTOR) for sector in range(count)]
        self.writers.clear()
        vcpu = self.guest_notifies()
        vcpu.join(60)
        self.settle()
        assert [self.status(number) for number in numbers] == [0] * count
        return sorted(writer is vcpu for writer in self.writers)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"\x55" * SIZE)
    return path


@pytest.fixture
def machine(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(path, F_VERSION_1 | F_FLUSH | F_CONFIG_WCE)
    monkeypatch.setattr(os, "pwritev", machine.pwritev)
    monkeypatch.setattr("avmm_virtio.block.workers._times_slept", lambda: machine.slept)
    yield machine
    asyncio.run(end(machine))


def test_the_vcpu_s_thread_writes_what_it_brings(machine: Machine, path: Path) -> None:
    assert machine.guest_writes(2) == [True, True]
    assert path.read_bytes()[:1024] == SECTOR * 2
    assert (machine.file._workers.carried_out_here, machine.device.queues[0].stats.interrupts) == (2, 1)


def test_nobody_else_waits_for_it(machine: Machine) -> None:
    machine.held = Held()
    machine.put(OUT, 0, SECTOR)
    vcpu = machine.guest_notifies()
    assert machine.held.entered.wait(60)
    assert machine.lock.acquire(timeout=60), "the device lock is held while the disk is written"
    machine.lock.release()
    machine.held.let_go.set()
    vcpu.join(60)


async def test_the_event_loop_never_writes(machine: Machine) -> None:
    running = asyncio.create_task(asyncio.to_thread(machine.guest_writes))  # what it was made on is not the event loop's here
    assert await running == [True]
    number = machine.put(OUT, 0, SECTOR)
    machine.bus.write(Register.QUEUE_NOTIFY, 4, 0)
    machine.settle()
    assert (machine.status(number), machine.writers[-1] is threading.current_thread()) == (0, False)


def test_no_more_than_it_copies_in_a_moment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avmm_virtio.block.workers.IN_PLACE", 1024)
    assert machine.guest_writes(3) == [False, True, True]
    assert machine.guest_writes(2) == [True, True]


def test_a_slow_write_is_the_last_for_a_while(machine: Machine) -> None:
    machine.takes_ns = SLOW_NS
    assert machine.guest_writes() == [True]
    machine.takes_ns = SLOW_NS + 1
    assert machine.guest_writes() == [True]
    machine.takes_ns, machine.now_ns = 0, machine.now_ns + AWAY_NS - 1
    assert machine.guest_writes() == [False]
    machine.now_ns += 1
    assert machine.guest_writes() == [True]


def test_a_write_that_was_kept_from_a_core_is_not_slow(machine: Machine) -> None:
    machine.takes_ns, machine.sleeps = 10 * SLOW_NS, False
    assert machine.guest_writes() == [True]
    assert machine.guest_writes() == [True]


def test_how_often_a_thread_slept_is_known() -> None:
    before = _times_slept()
    select.select([], [], [], 0.001)
    assert _times_slept() > before


def test_one_that_is_slow_again_and_again_is_tried_ever_less_often(machine: Machine) -> None:
    machine.takes_ns = SLOW_NS + 1
    for away_ns in (AWAY_NS, 2 * AWAY_NS, 4 * AWAY_NS):
        assert machine.guest_writes() == [True]
        machine.now_ns += away_ns - 1
        machine.takes_ns = 0
        assert machine.guest_writes() == [False]
        machine.now_ns += 1
        machine.takes_ns = SLOW_NS + 1


def test_a_write_does_not_run_into_a_flush(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    monkeypatch.setattr(os, "fdatasync", lambda fd: held.wait())
    machine.put(FLUSH)
    machine.guest_notifies().join(60)
    assert held.entered.wait(60)
    write = machine.put(OUT, 0, SECTOR)
    vcpu = machine.guest_notifies()
    vcpu.join(60)
    machine.settle(left=1)
    assert (machine.status(write), machine.writers[-1] is vcpu) == (0, False)
    held.let_go.set()
    machine.settle()


def test_what_is_to_be_durable_is_a_thread_s(machine: Machine) -> None:
    machine.bus.write(CONFIG + 32, 1, 0)
    assert machine.guest_writes() == [False]


def test_a_reset_waits_for_the_transfer_and_drops_the_rest(machine: Machine, path: Path) -> None:
    machine.held = Held()
    machine.put(OUT, 0, SECTOR)
    machine.put(OUT, 1, SECTOR)
    vcpu = machine.guest_notifies()
    assert machine.held.entered.wait(60)
    reset = threading.Thread(target=machine.bus.write, args=(Register.STATUS, 4, 0))
    reset.start()
    reset.join(0.05)  # it could be over by now, if it did not wait
    assert reset.is_alive()
    machine.held.let_go.set()
    for thread in (reset, vcpu):
        thread.join(60)
    assert path.read_bytes()[:1024] == SECTOR + b"\x55" * 512
    machine.device.queues[0].split.ready = False
    assert machine.blk._under_way == 0


async def test_the_end_waits_for_the_transfer_and_begins_no_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(path)
    monkeypatch.setattr(os, "pwritev", machine.pwritev)
    held = machine.held = Held()
    machine.put(OUT, 0, SECTOR)
    machine.put(OUT, 1, SECTOR)
    vcpu = machine.guest_notifies()
    assert await asyncio.to_thread(held.entered.wait, 60)
    running = asyncio.create_task(machine.device.run())
    for _ in range(3):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    held.let_go.set()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(running, 60)
    vcpu.join(60)
    assert path.read_bytes()[:512] == SECTOR
    open_image(str(path), read_only=False).close()  # nobody holds its lock
