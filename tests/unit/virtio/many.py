"""A driver of a device with several queues at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from avmm.plugin import GuestMemory, MemorySlot
from avmm_virtio import VirtioModel
from avmm_virtio.registers import F_VERSION_1, Register, Status
from tests.unit.virtio.background import in_background, settle
from tests.unit.virtio.modern import READY, ModernBench
from tests.unit.virtio.ring import BUFFERS, RAM, USED, WRITE, Driver

AREA, BUFFER = 0x1_0000, 0x1000


class ManyBench(ModernBench):
    """A device and a driver of its `queues`, each of eight buffers of a page."""

    def __init__(self, model: VirtioModel, queues: Sequence[int], features: int = F_VERSION_1) -> None:
        self.shared = GuestMemory()
        self.shared.add(MemorySlot(RAM, AREA * (max(queues) + 1)))
        super().__init__(model, driver=Driver(8, self.shared))
        self.queues = queues
        self.start(features)

    def start(self, features: int) -> None:
        """All the way to DRIVER_OK."""
        self.drivers = {queue: Driver(8, self.shared, AREA * queue) for queue in self.queues}
        self._seen = dict.fromkeys(self.queues, 0)
        for queue in self.queues:
            self.shared.write(RAM + AREA * queue, bytes(BUFFERS - RAM))
        assert self.negotiate(features)
        for queue in self.queues:
            self.place(queue, AREA * queue)
        self.write(Register.STATUS, READY | Status.DRIVER_OK)

    def restart(self, features: int = F_VERSION_1) -> None:
        """Reset the device, and begin anew."""
        self.write(Register.STATUS, 0)
        self.start(features)

    def send(self, queue: int, *texts: bytes) -> None:
        """Buffers with something in them, up to a page each."""
        for text in texts:
            driver = self.drivers[queue]
            index = driver.available % 8
            self.shared.write(self._buffer(queue, index), text)
            driver.describe(index, self._buffer(queue, index), len(text))
            driver.offer(index)
        self.notify(queue)

    def give(self, queue: int, *sizes: int) -> None:
        """Buffers to fill, up to a page each."""
        for size in sizes:
            driver = self.drivers[queue]
            index = driver.available % 8
            driver.describe(index, self._buffer(queue, index), size, WRITE)
            driver.offer(index)
        self.notify(queue)

    def used(self, queue: int) -> int:
        """How many buffers came back so far, up to 65535."""
        return int.from_bytes(self.shared.read(RAM + AREA * queue + USED - RAM + 2, 2), "little")

    def got(self, queue: int) -> list[bytes]:
        """What is in the buffers that came back since this was last asked."""
        found = []
        while self._seen[queue] < self.used(queue):
            at = RAM + AREA * queue + USED - RAM + 4 + 8 * (self._seen[queue] % 8)
            entry = self.shared.read(at, 8)
            index, size = int.from_bytes(entry[:4], "little"), int.from_bytes(entry[4:], "little")
            found.append(self.shared.read(self._buffer(queue, index), size))
            self._seen[queue] += 1
        return found

    @staticmethod
    def _buffer(queue: int, index: int) -> int:
        return BUFFERS + AREA * queue + BUFFER * index

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """With the device's own coroutine."""
        async with in_background(self.device.run()):
            await settle()
            yield
