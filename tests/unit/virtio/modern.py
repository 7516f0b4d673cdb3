"""A driver of a virtio-mmio device of version 2, in a few pages of guest memory, one queue at a time."""

from __future__ import annotations

from avmm.plugin import IrqLine, Width
from avmm_virtio import VirtioMmio, VirtioModel
from avmm_virtio.registers import F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1, Register, Status
from tests.unit.virtio.host import device_options
from tests.unit.virtio.ring import AVAILABLE, DESCRIPTORS, USED, Driver

RING_FEATURES = F_VERSION_1 | F_INDIRECT_DESC | F_EVENT_IDX
READY = Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK


class ModernBench:
    """A device and its driver. `faults` is what the machine was told of its guest."""

    def __init__(self, model: VirtioModel, size: int = 8, driver: Driver | None = None) -> None:
        self.driver = driver or Driver(size)
        self.memory = self.driver.memory
        self.faults: list[str] = []
        self.options = device_options(self.memory, guest_fault=lambda kind, detail: self.faults.append(f"{kind}: {detail}"))
        self.device = VirtioMmio(model, self.options)

    @property
    def irq(self) -> bool:
        line = self.options.irq
        assert isinstance(line, IrqLine)
        return line.level

    def read(self, register: int, width: Width = Width.W32) -> int:
        with self.options.lock:
            return self.device.read(register, width)

    def write(self, register: int, value: int, width: Width = Width.W32) -> None:
        with self.options.lock:
            self.device.write(register, width, value)

    @property
    def offered(self) -> int:
        features = 0
        for select in (0, 1):
            self.write(Register.DEVICE_FEATURES_SEL, select)
            features |= self.read(Register.DEVICE_FEATURES) << 32 * select
        return features

    def negotiate(self, features: int = F_VERSION_1) -> bool:
        """Up to FEATURES_OK (3.1.1); whether it stands."""
        self.write(Register.STATUS, Status.ACKNOWLEDGE)
        self.write(Register.STATUS, Status.ACKNOWLEDGE | Status.DRIVER)
        for select in (0, 1):
            self.write(Register.DRIVER_FEATURES_SEL, select)
            self.write(Register.DRIVER_FEATURES, features >> 32 * select & 0xFFFF_FFFF)
        self.write(Register.STATUS, READY)
        return bool(self.read(Register.STATUS) & Status.FEATURES_OK)

    def place(self, queue: int = 0, at: int = 0) -> None:
        """Put `queue` where the driver's ring is, `at` bytes on, and say that it is ready."""
        self.write(Register.QUEUE_SEL, queue)
        self.write(Register.QUEUE_NUM, self.driver.size)
        for low, address in (
            (Register.QUEUE_DESC_LOW, DESCRIPTORS),
            (Register.QUEUE_DRIVER_LOW, AVAILABLE),
            (Register.QUEUE_DEVICE_LOW, USED),
        ):
            self.write(low, address + at & 0xFFFF_FFFF)
            self.write(low + 4, address + at >> 32)
        self.write(Register.QUEUE_READY, 1)

    def set_up(self, queue: int = 0, features: int = F_VERSION_1) -> None:
        """All the way to DRIVER_OK, with one queue."""
        assert self.negotiate(features)
        self.place(queue)
        self.write(Register.STATUS, READY | Status.DRIVER_OK)

    def notify(self, queue: int = 0) -> None:
        self.write(Register.QUEUE_NOTIFY, queue)

    def acknowledge(self) -> int:
        """InterruptStatus, acknowledged."""
        status = self.read(Register.INTERRUPT_STATUS)
        self.write(Register.INTERRUPT_ACK, status)
        return status
