"""The bus of memory-mapped registers (MMIO)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

from avmm.device import Device, Width
from avmm.errors import ConfigError
from avmm.irq import IrqLine
from avmm.lock import DeviceLock
from avmm.served import ServedRegister

# Looked up once an access: calling the enum costs more than the rest of it.
_WIDTHS = {int(width): width for width in Width}
_MASKS = {int(width): (1 << width * 8) - 1 for width in Width}


class Region:
    """A device's place on the bus, with its counters (plain integers, written under the device lock)."""

    __slots__ = ("address", "device", "end", "faults", "irq", "name", "quarantined", "reads", "writes")

    def __init__(self, address: int, device: Device, name: str) -> None:
        self.address, self.end, self.device, self.name = address, address + device.size, device, name
        self.reads = self.writes = self.faults = 0
        self.quarantined = False
        self.irq: IrqLine | None = None
        """The interrupt line the device drives, where it has one."""


class Bus:
    """Disjoint ranges of guest physical address space, each a device's registers.

    A device that raises is quarantined: from then on it reads as zero and ignores writes, and `on_fault(region, error)` is told
    once. An access that no device answers (none is there, it is quarantined, or its end is crossed) reads as zero, is ignored
    when written, and is counted in `unclaimed`.
    """

    def __init__(self, lock: DeviceLock, on_fault: Callable[[Region, Exception], None]) -> None:
        self._lock, self._on_fault = lock, on_fault
        self._regions: list[Region] = []
        self._starts: list[int] = []
        # The region of the last access: guests touch one device many times in a row. Replaced whole, so any thread may read it.
        self._last: Region | None = None
        self.unclaimed = 0
        self._trace: Callable[[int, int], None] | None = None
        self._served: dict[int, ServedRegister] = {}
        self.take_queued: Callable[[], Sequence[tuple[int, int, list[int]]]] = tuple
        """Empties the engine's queue of coalesced writes: see `ServedMmio.take`."""

    def __iter__(self) -> Iterator[Region]:
        return iter(self._regions)

    @property
    def trace(self) -> Callable[[int, int], None] | None:
        """Told of every access, before it is made: the guest physical address, and 1 for a write, 0 for a read. Any thread.

        From when it is set no access is served without the device, so that it misses none.
        """
        return self._trace

    @trace.setter
    def trace(self, trace: Callable[[int, int], None] | None) -> None:
        with self._lock:
            self._trace = trace
            for register in self._served.values():
                register.withdraw()

    def serve(self, address: int, register: ServedRegister) -> None:
        """The register at guest physical `address` is served as `register` says, by an engine that can."""
        self._served[address] = register

    def settle(self) -> None:
        """Count the reads that were served, and carry out the coalesced writes, in order. Any thread.

        They are taken with the device lock held: whoever finds none left, and accesses a device then, comes behind them.
        """
        with self._lock:
            for address, register in self._served.items():
                if (reads := register.reads) != register.reads_counted and (region := self.find(address)) is not None:
                    region.reads += reads - register.reads_counted
                    register.reads_counted = reads
            for address, width, values in self.take_queued():
                region = self.find(address)
                if region is None or region.quarantined:
                    self.unclaimed += len(values)
                    continue
                region.writes += len(values)
                try:
                    region.device.write_coalesced(address - region.address, _WIDTHS[width], values)
                except Exception as error:  # noqa: BLE001 - the plugin boundary
                    self.quarantine(region, error)

    def add(self, address: int, device: Device, name: str) -> Region:
        """Place `device` at guest physical `address`; ConfigError when it overlaps another device."""
        if address < 0 or device.size <= 0:
            raise ConfigError(f"{address:#x}: a device needs an address of 0 or more and a size", key=f"devices.{name}.base")
        region = Region(address, device, name)
        for other in self._regions:
            if region.address < other.end and other.address < region.end:
                raise ConfigError(
                    f"{address:#x} overlaps devices.{other.name} ({other.address:#x}-{other.end - 1:#x})",
                    key=f"devices.{name}.base",
                )
        position = bisect_right(self._starts, address)
        self._regions.insert(position, region)
        self._starts.insert(position, address)
        return region

    def find(self, address: int) -> Region | None:
        """The region that `address` lies in, or None."""
        last = self._last
        if last is not None and last.address <= address < last.end:
            return last
        position = bisect_right(self._starts, address) - 1
        if position < 0:
            return None
        region = self._regions[position]
        if address >= region.end:
            return None
        self._last = region
        return region

    def read(self, address: int, width: int) -> int:
        """Read `width` bytes at guest physical `address`, as the guest sees it."""
        return self.read_from(self.find(address), address, width)

    def read_from(self, region: Region | None, address: int, width: int) -> int:
        """As `read`, from the `region` that `find` gave for `address`."""
        if self._trace is not None:
            self._trace(address, 0)
        with self._lock:
            if region is None or region.quarantined or address + width > region.end:
                self.unclaimed += 1
                return 0
            region.reads += 1
            try:
                return region.device.read(address - region.address, _WIDTHS[width]) & _MASKS[width]
            except Exception as error:  # noqa: BLE001 - the plugin boundary: a device that raises is taken out, the VM goes on
                self.quarantine(region, error)
                return 0

    def write(self, address: int, width: int, value: int) -> None:
        """Write `width` bytes at guest physical `address`, as the guest does."""
        self.write_to(self.find(address), address, width, value)

    def write_to(self, region: Region | None, address: int, width: int, value: int) -> None:
        """As `write`, to the `region` that `find` gave for `address`."""
        if self._trace is not None:
            self._trace(address, 1)
        with self._lock:
            if region is None or region.quarantined or address + width > region.end:
                self.unclaimed += 1
                return
            region.writes += 1
            device = region.device
            try:
                device.write(address - region.address, _WIDTHS[width], value)
                if (after := device.after_write) is None:
                    return
                device.after_write = None
            except Exception as error:  # noqa: BLE001 - the plugin boundary
                self.quarantine(region, error)
                return
        try:
            after()
        except Exception as error:  # noqa: BLE001 - the plugin boundary
            with self._lock:
                self.quarantine(region, error)

    def reset(self) -> None:
        """Reset every device; quarantined ones stay out."""
        with self._lock:
            for region in self._regions:
                if not region.quarantined:
                    try:
                        region.device.reset()
                    except Exception as error:  # noqa: BLE001 - the plugin boundary
                        self.quarantine(region, error)

    def press_power_button(self) -> bool:
        """Press every power button there is; False when there is none."""
        pressed = False
        with self._lock:
            for region in self._regions:
                if not region.quarantined and (press := region.device.power_button) is not None:
                    pressed = True
                    try:
                        press()
                    except Exception as error:  # noqa: BLE001 - the plugin boundary
                        self.quarantine(region, error)
        return pressed

    def quarantine(self, region: Region, error: Exception) -> None:
        """Take a device out because it raised `error`. Called with the device lock held."""
        region.faults += 1
        region.quarantined = True
        for address, register in self._served.items():
            if region.address <= address < region.end:
                register.withdraw()
        self._on_fault(region, error)
