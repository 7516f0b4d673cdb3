"""The memory balloon (virtio 1.2, 5.5), and memory given back to the host."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.clock import VirtualClock
from avmm.plugin import ConfigError, Device, DeviceOptions, GuestMemory, MemorySlot, Width
from avmm.testing.contract import DeviceContract
from avmm_virtio import VirtioBalloon, create_balloon
from avmm_virtio.balloon import DEFLATE, F_DEFLATE_ON_OOM, F_PAGE_REPORTING, F_STATS_VQ, INFLATE, PAGE, STATISTICS
from avmm_virtio.registers import CONFIG, F_EVENT_IDX, F_VERSION_1, Register
from tests.unit.virtio.background import settle
from tests.unit.virtio.fuzz import Step, drive, start_again, step, steps
from tests.unit.virtio.host import device_options
from tests.unit.virtio.many import AREA, ManyBench
from tests.unit.virtio.modern import ModernBench
from tests.unit.virtio.ring import RAM, USED, WRITE

SECOND = 1_000_000_000
FEATURES = F_VERSION_1 | F_STATS_VQ | F_DEFLATE_ON_OOM | F_PAGE_REPORTING
LENT = RAM + (1 << 20)
"""Where the pages are that the guest lends, behind the queues."""
LENT_SIZE = 64 * PAGE


class BalloonBench(ManyBench):
    """A balloon, and memory full of ones."""

    def __init__(self, *, statistics_s: float = 0, size: int = 0, reporting: bool = True) -> None:
        self.clock = VirtualClock()
        self.balloon = VirtioBalloon(self.clock, size=size, statistics_s=statistics_s, reporting=reporting)
        super().__init__(self.balloon, range(5), FEATURES & (-1 if reporting else ~F_PAGE_REPORTING))
        self.shared.add(MemorySlot(LENT, LENT_SIZE))
        self.shared.write(LENT, b"\1" * LENT_SIZE)

    def lend(self, *pages: int, queue: int = INFLATE) -> None:
        self.send(queue, struct.pack(f"<{len(pages)}I", *(LENT // PAGE + page for page in pages)))

    def zero_pages(self) -> list[int]:
        """Which of the pages read as zeros."""
        return [page for page in range(64) if not any(self.shared.read(LENT + page * PAGE, PAGE))]

    def tell(self, **statistics: int) -> None:
        tags = {"swap_in": 0, "free": 4, "total": 5, "future": 77}
        self.send(STATISTICS, b"".join(struct.pack("<HQ", tags[name], value) for name, value in statistics.items()))


class TestContract(DeviceContract):
    def make_device(self, options: DeviceOptions) -> Device:
        return create_balloon(replace(options, options={"statistics": 1}))


class TestInflate:
    async def test_pages_go_back_to_the_host_and_the_buffer_to_the_driver(self) -> None:
        bench = BalloonBench()
        async with bench.running():
            bench.lend(9, 3, 4, 5, 4)
            await settle()
            assert (bench.zero_pages(), bench.used(INFLATE), bench.irq) == ([3, 4, 5, 9], 1, True)
            assert bench.balloon.discarded == 4 * PAGE

    async def test_what_comes_back_can_be_written(self) -> None:
        bench = BalloonBench()
        async with bench.running():
            bench.lend(0)
            await settle()
            bench.lend(0, queue=DEFLATE)
            await settle()
            bench.shared.write(LENT, b"new")
            assert (bench.shared.read(LENT, 4), bench.used(DEFLATE)) == (b"new\0", 1)

    async def test_pages_where_no_memory_is_are_counted(self) -> None:
        bench = BalloonBench()
        rom = MemorySlot(0x1000_0000, PAGE, read_only=True)
        bench.shared.add(rom)
        bench.shared.write(rom.address, b"firmware")
        async with bench.running():
            bench.send(INFLATE, struct.pack("<3I", 0, rom.address // PAGE, 0xFFFF_FFFF) + b"\1\2")
            await settle()
            assert (bench.balloon.invalid, bench.used(INFLATE), bench.zero_pages()) == (3, 1, [])
            assert bench.shared.read(rom.address, 8) == b"firmware"

    async def test_a_list_of_any_length_is_worked_off_in_pieces(self) -> None:
        bench = BalloonBench()
        bench.shared.write(LENT, struct.pack("<16384I", *[(LENT >> 12) + 63] * 16383, (LENT >> 12) + 62))
        async with bench.running():
            driver = bench.drivers[INFLATE]
            driver.describe(0, LENT, 0x1_0000)
            driver.offer(0)
            bench.notify(INFLATE)
            await settle()
            assert bench.used(INFLATE) == 0, "others have their turns"
            async with asyncio.timeout(60):
                while not bench.used(INFLATE):
                    await asyncio.sleep(0)
            assert bench.zero_pages() == [62, 63]

    async def test_a_reset_in_the_middle(self) -> None:
        bench = BalloonBench()
        bench.shared.write(LENT, struct.pack("<16384I", *[(LENT >> 12) + 63] * 16384))
        async with bench.running():
            driver = bench.drivers[INFLATE]
            driver.describe(0, LENT, 0x1_0000)
            driver.offer(0)
            bench.notify(INFLATE)
            await settle()
            bench.restart(FEATURES)
            bench.lend(7)
            await settle()
            assert (bench.used(INFLATE), bench.zero_pages()) == (1, [7, 63])

    async def test_nothing_is_given_back_while_the_machine_is_paused(self) -> None:
        bench = BalloonBench()
        async with bench.running():
            await bench.device.quiesce()
            bench.lend(1)
            await settle()
            assert bench.zero_pages() == []
            await bench.device.resume()
            await settle()
            assert bench.zero_pages() == [1]


class TestReporting:
    @pytest.mark.parametrize("queue", [3, 4])
    async def test_free_pages_go_back_to_the_host(self, queue: int) -> None:
        """The standard's queue, and the one that Linux uses."""
        bench = BalloonBench()
        async with bench.running():
            driver = bench.drivers[queue]
            driver.describe(0, LENT + PAGE, 2 * PAGE, WRITE | 1, 1)
            driver.describe(1, LENT + 10 * PAGE + 1, 3 * PAGE, WRITE)
            driver.offer(0)
            bench.notify(queue)
            await settle()
            assert bench.zero_pages() == [1, 2, 11, 12], "whole pages only"
            assert (bench.used(queue), bench.irq) == (1, True)

    async def test_not_unless_that_was_negotiated(self) -> None:
        bench = BalloonBench(reporting=False)
        async with bench.running():
            bench.drivers[4].describe(0, LENT, PAGE, WRITE)
            bench.drivers[4].offer(0)
            bench.notify(4)
            await settle()
            assert (bench.zero_pages(), bench.used(4)) == ([], 1)


class TestTarget:
    def test_it_stands_in_the_configuration_and_the_driver_is_told(self) -> None:
        bench = BalloonBench(size=8 * PAGE)
        assert (bench.read(CONFIG), bench.read(CONFIG + 4), bench.balloon.target) == (8, 0, 8 * PAGE)
        bench.balloon.set_target(16 * PAGE)
        assert (bench.read(CONFIG), bench.acknowledge()) == (16, 2)

    @pytest.mark.parametrize("size", [1, -PAGE, 1 << 40])
    def test_what_cannot_be_is_refused(self, size: int) -> None:
        bench = BalloonBench()
        with pytest.raises(ValueError, match="is not a multiple of 4096 bytes from 0 to"):
            bench.balloon.set_target(size)

    def test_the_driver_says_how_far_it_got(self) -> None:
        bench = BalloonBench()
        bench.write(CONFIG + 4, 5)
        assert (bench.balloon.size, bench.read(CONFIG + 4)) == (5 * PAGE, 5)
        bench.write(CONFIG + 5, 1, Width.W8)
        assert bench.balloon.size == (5 + 256) * PAGE
        bench.write(CONFIG, 0xFFFF)
        assert bench.balloon.target == 0, "that is not the driver's to write"
        bench.write(Register.STATUS, 0)
        assert bench.balloon.size == 0


class TestStatistics:
    def test_the_driver_tells_and_is_asked_again(self) -> None:
        bench = BalloonBench()
        assert not bench.balloon.ask(), "nobody is there to be asked"
        bench.tell(free=1000, total=5000, future=1)
        assert bench.balloon.statistics == {"free": 1000, "total": 5000}
        assert bench.used(STATISTICS) == 0
        assert (bench.balloon.ask(), bench.used(STATISTICS), bench.irq) == (True, 1, True)
        assert not bench.balloon.ask()
        bench.tell(free=2000)
        assert bench.balloon.statistics == {"free": 2000, "total": 5000}

    def test_as_often_as_was_asked_for(self) -> None:
        bench = BalloonBench(statistics_s=2)
        bench.tell(free=1)
        for asked in (1, 2):
            bench.clock.advance(2 * SECOND - 1)
            assert bench.used(STATISTICS) == asked - 1
            bench.clock.advance(1)
            assert bench.used(STATISTICS) == asked
            bench.tell(free=asked)
        bench.write(Register.STATUS, 0)
        bench.clock.advance(100 * SECOND)
        assert bench.used(STATISTICS) == 2

    def test_half_an_entry_is_none(self) -> None:
        bench = BalloonBench()
        bench.send(STATISTICS, struct.pack("<HQ", 4, 5) + b"\5\0\1")
        assert bench.balloon.statistics == {"free": 5}

    def test_one_buffer_is_kept_and_no_more(self) -> None:
        bench = BalloonBench()
        bench.tell(free=1)
        bench.tell(free=2)
        assert (bench.balloon.statistics, bench.used(STATISTICS)) == ({"free": 2}, 1)

    def test_the_driver_is_to_notify_of_its_answer(self) -> None:
        bench = BalloonBench()
        bench.restart(FEATURES | F_EVENT_IDX)
        bench.tell(free=1)
        avail_event = bench.shared.read(USED + AREA * STATISTICS + 4 + 8 * 8, 2)
        assert int.from_bytes(avail_event, "little") == 1, "when the next one comes (2.7.10)"


class TestMemory:
    """GuestMemory.discard."""

    def test_whole_pages_of_the_hosts_only(self) -> None:
        memory = GuestMemory()
        memory.add(MemorySlot(LENT, LENT_SIZE))
        memory.write(LENT, b"\1" * LENT_SIZE)
        assert memory.discard(LENT + 1, 2 * PAGE) == PAGE
        assert memory.read(LENT, PAGE) == b"\1" * PAGE
        assert memory.read(LENT + PAGE, PAGE + 1) == bytes(PAGE) + b"\1"
        assert (memory.discard(LENT + 1, PAGE), memory.discard(LENT, 0)) == (0, 0)
        memory.close()

    def test_the_host_has_them_back(self) -> None:
        size = 32 << 20
        memory = GuestMemory()
        memory.add(MemorySlot(LENT, size))
        memory.write(LENT, b"\1" * size)
        before = resident()
        assert memory.discard(LENT, size) == size
        assert before - resident() > size * 3 // 4
        memory.close()

    @pytest.mark.parametrize(("address", "size"), [(LENT - 1, 1), (LENT, LENT_SIZE + 1), (LENT, -1), (0, PAGE), (0x1000, PAGE)])
    def test_only_where_the_guest_may_write(self, address: int, size: int) -> None:
        memory = GuestMemory()
        memory.add(MemorySlot(LENT, LENT_SIZE))
        memory.add(MemorySlot(0x1000, PAGE, read_only=True))
        with pytest.raises(ValueError, match="guest memory"):
            memory.discard(address, size)
        memory.close()


def resident() -> int:
    """This process's resident memory, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"size": "1T"}, "size"),
        ({"size": 100}, "size"),
        ({"statistics": "x"}, "statistics"),
        ({"reporting": 1}, "reporting"),
        ({"a": 1}, "a"),
    ],
)
def test_a_mistake_in_its_table_is_named(table: dict[str, object], key: str) -> None:
    memory = GuestMemory()
    memory.add(MemorySlot(LENT, LENT_SIZE))
    with pytest.raises(ConfigError) as caught:
        create_balloon(device_options(memory, table))
    assert caught.value.key == f"devices.testdev.{key}"


_HOST_STEPS = (step("target", 20), step("ask", 0), step("advance", 3), step("pause", 1))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(range(5)), steps(5, *_HOST_STEPS))
def test_whatever_a_driver_does_it_goes_on(queue: int, done: list[Step]) -> None:
    asyncio.run(_go_on(queue, done))


async def _go_on(queue: int, done: list[Step]) -> None:
    clock = VirtualClock()
    balloon = VirtioBalloon(clock, statistics_s=1)
    bench = ModernBench(balloon)
    bench.set_up(queue, FEATURES)
    life = asyncio.create_task(bench.device.run())
    await asyncio.sleep(0)
    for name, numbers in done:
        match name, numbers:
            case "target", (pages,):
                balloon.set_target(min(pages, 16) * PAGE)
            case "ask", _:
                balloon.ask()
            case "advance", (seconds,):
                clock.advance(seconds * SECOND)
            case "pause", (pause,):
                await (bench.device.quiesce() if pause else bench.device.resume())
            case _:
                drive(bench, name, numbers)
        await asyncio.sleep(0)
        assert not life.done()
    await bench.device.resume()
    start_again(bench, INFLATE)
    bench.driver.text(0, struct.pack("<I", RAM + 0xF000 >> 12))
    bench.driver.offer(0)
    bench.notify(INFLATE)
    await settle()
    assert bench.driver.used() == [(0, 0)]
    life.cancel()
    await asyncio.wait([life])
