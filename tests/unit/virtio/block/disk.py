"""A disk in memory that answers when it is told to, and a driver for it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from avmm.clock import VirtualClock
from avmm_virtio import Blockdev, BlockRequest, Operation, VirtioBlk, Virtqueue
from avmm_virtio.block.request import HEADER, SEGMENT, RequestType
from avmm_virtio.registers import F_VERSION_1
from tests.unit.virtio.modern import ModernBench
from tests.unit.virtio.ring import BUFFERS, NEXT, WRITE

SECTORS = 64
DATA = BUFFERS + 0x1000


class MemoryDisk(Blockdev):
    """Holds what it is asked for until `answer`, unless it is `quick`."""

    can_discard = can_write_zeroes = True

    def __init__(self, sectors: int = SECTORS, *, quick: bool = True, read_only: bool = False) -> None:
        self.content = bytearray(sectors * 512)
        self.capacity, self.quick, self.read_only = len(self.content), quick, read_only
        self.held: list[BlockRequest] = []
        self.flushes = 0
        self.error = 0
        self.durable: list[bool] = []
        """Of each write."""

    def submit(self, request: BlockRequest) -> bool:
        if not self.quick:
            self.held.append(request)
            return False
        self._carry_out(request)
        return True

    def abandon(self, queue: Virtqueue) -> Sequence[BlockRequest]:
        dropped = [request for request in self.held if request.queue is queue]
        self.held = [request for request in self.held if request.queue is not queue]
        return dropped

    def answer(self, count: int = 1, *, last: bool = False) -> None:
        """Carry out and complete the first of what is held; or the last."""
        taken = [self.held.pop(-1 if last else 0) for _ in range(min(count, len(self.held)))]
        for request in taken:
            self._carry_out(request)
        self._receiver.completed(taken)

    def grow(self, sectors: int) -> None:
        self.content += bytes(sectors * 512)
        self.capacity = len(self.content)
        self._receiver.capacity_changed()

    def _carry_out(self, request: BlockRequest) -> None:
        request.error = self.error
        at = request.offset
        match request.operation:
            case Operation.READ if not self.error:
                for view in request.views:
                    view[:] = self.content[at : at + len(view)]
                    at += len(view)
            case Operation.WRITE:
                self.durable.append(request.durable)
                data = b"".join(request.views)
                assert len(data) == request.size
                self.content[at : at + len(data)] = data
            case Operation.FLUSH:
                self.flushes += 1
            case Operation.DISCARD | Operation.WRITE_ZEROES:
                for start, size, unmap in request.ranges:
                    self.content[start : start + size] = bytes(size)
                    assert request.operation is Operation.WRITE_ZEROES or not unmap
            case _:
                pass
        request.views = ()


class BlkBench(ModernBench):
    """A disk and its driver, one request a chain: header, data, status."""

    def __init__(
        self,
        disk: Blockdev,
        features: int = F_VERSION_1,
        *,
        serial: str = "",
        queues: int = 1,
        writeback: bool = True,
        size: int = 16,
    ) -> None:
        self.clock = VirtualClock()
        self.disk = disk
        self.blk = VirtioBlk(disk, self.clock, serial=serial, queues=queues, writeback=writeback)
        super().__init__(self.blk, size)
        self.set_up(0, features)
        self.slot = 0

    def put(self, kind: int, sector: int = 0, data: bytes = b"", room: int = 0) -> int:
        """Offer one request, without a notification; the number by which `status` and `data` know it."""
        number = self.slot
        self.slot = (number + 1) % 4  # four descriptors and 0x1000 bytes of buffers each
        first, at = 4 * number, BUFFERS + 0x2000 * number
        self.memory.write(at, HEADER.pack(kind, 0, sector) + data)
        self.memory.write(at + 0x1FFF, b"\xff")
        self.driver.describe(first, at, HEADER.size, NEXT, first + 1)
        self.driver.describe(first + 1, at + HEADER.size, len(data), NEXT, first + 2)
        self.driver.describe(first + 2, at + 0x1000, room, NEXT | WRITE, first + 3)
        self.driver.describe(first + 3, at + 0x1FFF, 1, WRITE)
        self.driver.offer(first)
        return number

    def status(self, number: int) -> int:
        return self.memory.read(BUFFERS + 0x2000 * number + 0x1FFF, 1)[0]

    def data(self, number: int, size: int) -> bytes:
        return self.memory.read(BUFFERS + 0x2000 * number + 0x1000, size)

    def ask(self, kind: int, sector: int = 0, data: bytes = b"", room: int = 0) -> int:
        """One request, begun at once; its status, 0xFF while there is none."""
        number = self.put(kind, sector, data, room)
        self.notify()
        return self.status(number)

    def read_disk(self, sector: int, size: int = 512) -> bytes:
        number = self.put(RequestType.IN, sector, room=size)
        self.notify()
        assert self.status(number) == 0
        return self.data(number, size)

    def flush(self) -> int:
        return self.ask(RequestType.FLUSH)

    def field(self, offset: int, layout: str) -> int:
        """A field of the configuration space."""
        return int(struct.unpack_from(f"<{layout}", self.blk.config, offset)[0])


def segment(sector: int, sectors: int, flags: int = 0) -> bytes:
    return SEGMENT.pack(sector, sectors, flags)
