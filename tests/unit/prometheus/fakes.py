"""A VM as an instrument sees it, without a VM behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from avmm.arch import Arch
from avmm.bus import Bus, Region
from avmm.clock import Clock, VirtualClock
from avmm.config import MachineConfig
from avmm.device import Device, Width
from avmm.figure import Figure, FigureValue
from avmm.instrument import VcpuStats
from avmm.irq import IrqLine
from avmm.lock import DeviceLock
from avmm.slot import Slot
from avmm.vcpu.acks import Acknowledgements
from avmm.vcpu.halt import HaltPoll
from avmm.vcpu.vcpu import Vcpu

Figures = list[tuple[Figure, FigureValue]]


class FakeDevice(Device):
    """Four registers and the figures it is given."""

    size = 16

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def read(self, offset: int, width: Width) -> int:
        if offset == 12:
            raise RuntimeError("no such register")
        return 7

    def write(self, offset: int, width: Width, value: int) -> None:
        pass

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        return self._figures


class FakeKeeper:
    """Keeps the figures it is given."""

    def __init__(self) -> None:
        self.own: Figures = []
        self.broken = False

    def figures(self) -> Figures:
        if self.broken:
            raise ZeroDivisionError("counting is hard")
        return self.own


class FakeEngine(FakeKeeper):
    instructions = 0


class FakeVcpu:
    """The attributes of a vCPU that are read."""

    def __init__(self, index: int) -> None:
        self.index, self.stats, self.engine, self.arch = index, VcpuStats(), FakeEngine(), FakeKeeper()
        self.acks: list[Acknowledgements] = []
        self.halt_poll = HaltPoll()
        self.timed = 0
        """How often somebody asked for its requests to be timed."""

    def time_requests(self) -> None:
        self.timed += 1


class NoChip:
    """An interrupt controller without a vCPU behind it."""

    def set_spi_level(self, number: int, level: bool) -> None:
        pass


class FakeSlot:
    def __init__(self) -> None:
        self.switches = self.waiting = 0
        self.vcpu: FakeVcpu | None = None


class FakeVm:
    """An `ObservedVm` whose every figure a test sets."""

    def __init__(self, name: str = "vm0", vcpus: int = 2) -> None:
        self.name = name
        self.config = MachineConfig(memory="64M")
        self.device_lock = DeviceLock()
        self.remote_tlb_flush_requests = self.remote_tlb_flush = 0
        self.time = VirtualClock()
        self.clock: Clock = self.time
        self.bus = Bus(self.device_lock, lambda region, error: None)
        self.parts = [FakeVcpu(index) for index in range(vcpus)]
        self.fake_slots = [FakeSlot(), FakeSlot()]
        self.guest_faults: dict[str, int] = {}
        self.request_names = {0: "TLB_FLUSH", 4: "VM_DEAD", 9: "IRQ_PENDING"}
        self.state_name = "running"
        self.read = 0
        """How often somebody asked for the state."""

    @property
    def vcpus(self) -> list[Vcpu]:
        return cast(list[Vcpu], self.parts)

    @property
    def slots(self) -> list[Slot]:
        return cast(list[Slot], self.fake_slots)

    @property
    def arch(self) -> Arch:
        raise NotImplementedError("no metric needs it")

    def state(self) -> str:
        self.read += 1
        return self.state_name

    def add_device(self, name: str, figures: Figures | None = None) -> Region:
        """Put a device with an interrupt line on the bus, behind those that are there."""
        region = self.bus.add(0x1000 * (1 + len(list(self.bus))), FakeDevice(figures or []), name)
        region.irq = IrqLine(NoChip(), 0, self.device_lock)
        return region
