"""Registers that are served without a trap: what a device tells, and how the bus settles."""

from __future__ import annotations

from collections.abc import Sequence

from avmm.bus import Bus, Region
from avmm.device import Device, Width
from avmm.lock import DeviceLock
from avmm.served import SERVES_READS, SERVES_WRITES, ServedRegister

BASE = 0x1000


class Recorder(Device):
    """Remembers what it was written, and whether anybody else could have had the device lock."""

    size = 0x100

    def __init__(self, lock: DeviceLock, *, broken: bool = False) -> None:
        self._lock, self.broken = lock, broken
        self.written: list[tuple[int, Width, list[int]]] = []

    def read(self, offset: int, width: Width) -> int:
        return 0

    def write(self, offset: int, width: Width, value: int) -> None:
        self.write_coalesced(offset, width, [value])

    def write_coalesced(self, offset: int, width: Width, values: Sequence[int]) -> None:
        assert self._lock._is_owned()  # type: ignore[attr-defined]
        if self.broken:
            raise OSError("broken")
        self.written.append((offset, width, list(values)))


class Bench:
    """A bus with one device whose registers 0 and 4 are served, and an engine's queue."""

    def __init__(self, *, broken: bool = False) -> None:
        lock = DeviceLock()
        self.faults: list[Region] = []
        self.bus = Bus(lock, lambda region, error: self.faults.append(region))
        self.device = Recorder(lock, broken=broken)
        self.region = self.bus.add(BASE, self.device, "recorder")
        self.registers = [ServedRegister(), ServedRegister()]
        for number, register in enumerate(self.registers):
            self.bus.serve(BASE + 4 * number, register)
            register.tell(reads_as=1, coalesces=True)
        self.queue: list[tuple[int, int, list[int]]] = []
        self.taken_with_lock: list[bool] = []

        def take() -> Sequence[tuple[int, int, list[int]]]:
            self.taken_with_lock.append(lock._is_owned())  # type: ignore[attr-defined]
            taken, self.queue = self.queue, []
            return taken

        self.bus.take_queued = take

    @property
    def told(self) -> list[int]:
        return [register.words[0] for register in self.registers]


def test_what_a_register_tells_is_one_word() -> None:
    register = ServedRegister()
    assert list(register.words) == [0, 0]
    register.tell(reads_as=0xFFFF_FFFF, coalesces=True)
    assert register.words[0] == SERVES_READS | SERVES_WRITES | 0xFFFF_FFFF
    register.tell(reads_as=0)
    assert register.words[0] == SERVES_READS
    register.tell(coalesces=True)
    assert register.words[0] == SERVES_WRITES
    register.tell()
    assert register.words[0] == 0


def test_a_device_that_says_nothing_of_runs_is_written_value_by_value() -> None:
    class Plain(Device):
        size = 8
        written: tuple[tuple[int, Width, int], ...] = ()

        def read(self, offset: int, width: Width) -> int:
            return 0

        def write(self, offset: int, width: Width, value: int) -> None:
            self.written += ((offset, width, value),)

    device = Plain()
    device.write_coalesced(4, Width.W16, [1, 2])
    assert device.written == ((4, Width.W16, 1), (4, Width.W16, 2))


def test_coalesced_writes_are_carried_out_in_order_and_counted() -> None:
    bench = Bench()
    bench.queue = [(BASE, 4, [1, 2]), (BASE + 4, 1, [3]), (BASE, 4, [4])]
    bench.bus.settle()
    assert bench.device.written == [(0, Width.W32, [1, 2]), (4, Width.W8, [3]), (0, Width.W32, [4])]
    assert (bench.region.writes, bench.region.reads, bench.bus.unclaimed) == (4, 0, 0)
    assert bench.taken_with_lock == [True], "else another access could pass them"


def test_reads_that_were_served_are_counted_once() -> None:
    bench = Bench()
    for served in (3, 2):
        bench.registers[0].words[1] += served
        bench.registers[1].words[1] += 1
        bench.bus.settle()
        bench.bus.settle()
    assert bench.region.reads == 7


def test_a_device_that_raises_is_served_no_more() -> None:
    bench = Bench(broken=True)
    bench.queue = [(BASE, 4, [1]), (BASE + 4, 4, [2, 3])]
    bench.bus.settle()
    assert bench.faults == [bench.region]
    assert bench.told == [0, 0]
    assert (bench.region.writes, bench.bus.unclaimed) == (1, 2)
    bench.registers[0].tell(reads_as=5)  # a callback that did not hear of it
    assert bench.told == [0, 0]


def test_one_that_breaks_leaves_the_others_served() -> None:
    bench = Bench()
    other = bench.bus.add(BASE + 0x1000, Recorder(DeviceLock(), broken=True), "other")
    with bench.bus._lock:
        bench.bus.quarantine(other, OSError())
    assert all(bench.told)


def test_whoever_traces_the_bus_misses_no_access() -> None:
    bench = Bench()
    bench.bus.trace = lambda address, write: None
    assert bench.told == [0, 0]
    bench.registers[0].tell(reads_as=5, coalesces=True)
    assert bench.told == [0, 0]
