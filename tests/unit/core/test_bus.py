"""The bus, memory, interrupt lines and the device lock."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm import ConfigError
from avmm.bus import Bus, Region
from avmm.irq import IrqLine
from avmm.lock import DeviceLock
from avmm.memory import PAGE_SIZE, GuestMemory, MemorySlot
from avmm.plugin import Device, Width


def _held(lock: DeviceLock) -> bool:
    """Whether the calling thread holds `lock`."""
    return bool(lock._is_owned())


class Scratch(Device):
    """Remembers what was written to it, and raises when told to."""

    def __init__(self, size: int = 0x100, lock: DeviceLock | None = None) -> None:
        self.size = size
        self.values: dict[int, int] = {}
        self.accesses: list[tuple[str, int, Width]] = []
        self.broken = False
        self.resets = 0
        self._lock = lock

    def read(self, offset: int, width: Width) -> int:
        assert self._lock is None or _held(self._lock)
        if self.broken:
            raise OSError("broken")
        self.accesses.append(("read", offset, width))
        return self.values.get(offset, -1)

    def write(self, offset: int, width: Width, value: int) -> None:
        assert self._lock is None or _held(self._lock)
        if self.broken:
            raise OSError("broken")
        self.accesses.append(("write", offset, width))
        self.values[offset] = value

    def reset(self) -> None:
        if self.broken:
            raise OSError("broken")
        self.resets += 1


@pytest.fixture
def faults() -> list[tuple[Region, Exception]]:
    return []


@pytest.fixture
def bus(faults) -> Bus:
    return Bus(DeviceLock(), lambda region, error: faults.append((region, error)))


def test_an_access_reaches_its_device_at_its_offset(bus):
    first, second = Scratch(), Scratch()
    bus.add(0x1000, first, "first")
    bus.add(0x2000, second, "second")
    bus.write(0x2010, 4, 7)
    assert bus.read(0x2010, 4) == 7
    assert second.accesses == [("write", 0x10, Width.W32), ("read", 0x10, Width.W32)]
    assert first.accesses == []


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_bits_beyond_the_width_are_dropped(bus, width):
    bus.add(0x1000, Scratch(), "scratch")
    assert bus.read(0x1000, width) == (1 << width * 8) - 1  # the device says -1


@pytest.mark.parametrize("address", [0, 0xFFF, 0x1100, 0x1FFF, 0x2100, (1 << 64) - 8])
def test_what_nobody_claims_reads_as_zero_and_is_counted(bus, address):
    bus.add(0x1000, Scratch(), "first")
    bus.add(0x2000, Scratch(), "second")
    assert bus.read(address, 4) == 0
    bus.write(address, 4, 1)
    assert bus.unclaimed == 2


def test_an_access_across_the_end_of_a_device_does_not_reach_it(bus):
    device = Scratch(0x100)
    bus.add(0x1000, device, "scratch")
    assert bus.read(0x10FE, 4) == 0
    bus.write(0x10FF, 2, 1)
    assert device.accesses == []


def test_regions_do_not_overlap(bus):
    bus.add(0x1000, Scratch(), "uart")
    for address in (0x1000, 0xF01, 0x10FF):
        with pytest.raises(ConfigError, match=r"devices\.other\.base.*overlaps devices\.uart"):
            bus.add(address, Scratch(), "other")
    bus.add(0xF00, Scratch(), "below")
    bus.add(0x1100, Scratch(), "above")
    assert [region.name for region in bus] == ["below", "uart", "above"]


@pytest.mark.parametrize(("address", "size"), [(-1, 0x100), (0, 0), (0, -4)])
def test_a_region_has_an_address_and_a_size(bus, address, size):
    with pytest.raises(ConfigError):
        bus.add(address, Scratch(size), "odd")


def test_a_device_that_raises_is_taken_out(bus, faults):
    device, other = Scratch(), Scratch()
    region = bus.add(0x1000, device, "broken")
    bus.add(0x2000, other, "other")
    device.broken = True
    assert bus.read(0x1000, 4) == 0
    device.broken = False
    bus.write(0x1000, 4, 5)
    assert bus.read(0x1000, 4) == 0
    assert (region.quarantined, region.faults, device.accesses) == (True, 1, [])
    assert [(told.name, str(error)) for told, error in faults] == [("broken", "broken")]
    bus.write(0x2000, 4, 1)
    assert other.values == {0: 1}


class Afterwards(Scratch):
    """Leaves something to do after a write of 1; the others leave nothing."""

    def __init__(self, lock: DeviceLock) -> None:
        super().__init__(lock=lock)
        self.held: list[bool] = []

    def write(self, offset: int, width: Width, value: int) -> None:
        super().write(offset, width, value)
        if value:
            self.after_write = self._after

    def _after(self) -> None:
        self.held.append(_held(self._lock))
        if self.values[0] == 2:
            raise OSError("broken afterwards")


def test_what_a_write_leaves_is_done_once_without_the_lock(bus):
    device = Afterwards(bus._lock)
    bus.add(0x1000, device, "disk")
    bus.write(0x1000, 4, 0)
    assert device.held == []
    bus.write(0x1000, 4, 1)
    bus.write(0x1000, 4, 0)
    assert device.held == [False]


def test_a_device_that_raises_afterwards_is_taken_out(bus, faults):
    region = bus.add(0x1000, Afterwards(bus._lock), "disk")
    bus.write(0x1000, 4, 2)
    assert (region.quarantined, [str(error) for _, error in faults]) == (True, ["broken afterwards"])


def test_a_reset_reaches_every_device_but_the_quarantined(bus, faults):
    devices = [Scratch() for _ in range(3)]
    for index, device in enumerate(devices):
        bus.add(0x1000 * (index + 1), device, f"d{index}")
    devices[1].broken = True
    bus.reset()
    bus.reset()
    assert [device.resets for device in devices] == [2, 0, 2]
    assert len(faults) == 1


def test_accesses_are_counted_and_made_under_the_device_lock(faults):
    lock = DeviceLock()
    bus = Bus(lock, lambda region, error: faults.append((region, error)))
    region = bus.add(0x1000, Scratch(lock=lock), "scratch")
    for _ in range(3):
        bus.read(0x1000, 4)
    bus.write(0x1000, 4, 1)
    assert (region.reads, region.writes, faults) == (3, 1, [])
    assert not _held(lock)


@given(st.lists(st.integers(0, 40), unique=True, min_size=1), st.lists(st.integers(0, 0x2A00)))
def test_find_agrees_with_a_search(places, addresses):
    bus = Bus(DeviceLock(), lambda region, error: None)
    for place in places:
        bus.add(place * 0x100, Scratch(0x80), f"d{place}")
    for address in addresses:
        expected = [region for region in bus if region.address <= address < region.end]
        assert bus.find(address) == (expected[0] if expected else None)


# Memory.


def test_memory_is_read_and_written_by_guest_physical_address():
    memory = GuestMemory()
    memory.add(MemorySlot(0x4000_0000, 2 * PAGE_SIZE))
    memory.add(MemorySlot(0x1000, PAGE_SIZE, name="rom", read_only=True))
    memory.write(0x4000_0FFE, b"abcd")
    assert memory.read(0x4000_0FFE, 4) == b"abcd"
    assert memory.read(0x1000, 4) == bytes(4)
    assert [slot.name for slot in memory] == ["rom", "ram"]
    memory.close()


@pytest.mark.parametrize(
    ("address", "size"), [(0xFFF, 1), (0x2000, 1), (0x1FFF, 2), (0x1000, PAGE_SIZE + 1), (0x1000, -1), (-8, 4)]
)
def test_memory_that_is_not_there(address, size):
    memory = GuestMemory()
    memory.add(MemorySlot(0x1000, PAGE_SIZE))
    with pytest.raises(ValueError, match="guest memory has no"):
        memory.read(address, size)
    if size >= 0:
        with pytest.raises(ValueError, match="guest memory has no"):
            memory.write(address, bytes(size))
    memory.close()


def test_memory_slots_do_not_overlap_and_can_be_taken_out():
    memory = GuestMemory()
    slot = MemorySlot(0x2000, 2 * PAGE_SIZE)
    memory.add(slot)
    for address in (0x1000, 0x2000, 0x3000):
        with pytest.raises(ConfigError, match="overlaps ram"):
            memory.add(MemorySlot(address, 2 * PAGE_SIZE, name="other"))
    memory.remove(slot)
    assert memory.find(0x2000, 1) is None
    memory.add(MemorySlot(0x1000, 2 * PAGE_SIZE))
    memory.close()
    slot.close()


@pytest.mark.parametrize(("address", "size"), [(1, PAGE_SIZE), (0, 1), (0, 0), (-PAGE_SIZE, PAGE_SIZE)])
def test_memory_slots_are_whole_pages(address, size):
    with pytest.raises(ConfigError):
        MemorySlot(address, size)


# Interrupt lines.


class Chip:
    """Records what its inputs are driven to, and by whom."""

    def __init__(self, lock: DeviceLock) -> None:
        self.levels: list[tuple[int, bool]] = []
        self._lock = lock

    def set_spi_level(self, number: int, level: bool) -> None:
        assert _held(self._lock)
        self.levels.append((number, level))


def test_a_line_tells_the_chip_of_changes_only():
    lock = DeviceLock()
    chip = Chip(lock)
    line = IrqLine(chip, 5, lock, "uart")
    assert (line.level, line.name, line.number) == (False, "uart", 5)
    for level in (False, True, True, False, False, True):
        line.set_level(level)
    assert chip.levels == [(5, True), (5, False), (5, True)]
    assert (line.level, line.raised) == (True, 2)


def test_a_pulse_is_one_edge():
    lock = DeviceLock()
    chip = Chip(lock)
    line = IrqLine(chip, 0, lock)
    line.pulse()
    assert chip.levels == [(0, True), (0, False)]
    assert (line.level, line.raised, line.name) == (False, 1, "irq0")


# The device lock.


def test_the_device_lock_is_reentrant():
    lock = DeviceLock()
    assert not _held(lock)
    with lock:
        assert _held(lock)
        with lock:
            assert _held(lock)
        assert _held(lock)
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(_held(lock)))
        thread.start()
        thread.join()
        assert seen == [False]
    assert not _held(lock)


def test_the_device_lock_excludes_other_threads():
    lock, inside, most = DeviceLock(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(500):
            with lock:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_the_device_lock_is_released_by_an_exception():
    lock = DeviceLock()
    with pytest.raises(KeyError), lock:
        raise KeyError
    assert not _held(lock)
