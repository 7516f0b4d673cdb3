"""The block device (virtio 1.2, 5.2): the disk that the guest sees, in front of any backend."""

from __future__ import annotations

import errno
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from avmm.plugin import Clock, DeviceLock, Figure, FigureKind, FigureValue, Histogram
from avmm_virtio.block.blockdev import SECTOR, Blockdev, BlockRequest, Operation
from avmm_virtio.block.request import (
    HEADER,
    ID_BYTES,
    MAX_RANGE_SECTORS,
    MAX_SEGMENTS,
    Refused,
    RequestStatus,
    RequestType,
    parse,
)
from avmm_virtio.chain import Chain
from avmm_virtio.model import VirtioModel
from avmm_virtio.virtqueue import Virtqueue
from avmm_virtio.wakeup import Wakeup

F_SEG_MAX: Final = 1 << 2
F_RO: Final = 1 << 5
F_BLK_SIZE: Final = 1 << 6
F_FLUSH: Final = 1 << 9
F_TOPOLOGY: Final = 1 << 10
F_CONFIG_WCE: Final = 1 << 11
F_MQ: Final = 1 << 12
F_DISCARD: Final = 1 << 13
F_WRITE_ZEROES: Final = 1 << 14
QUEUE_SIZE: Final = 256
MAX_QUEUES: Final = 16

_CONFIG = struct.Struct("<QIIHBBIBBHIBxHIIIIIBxxx")
"""struct virtio_blk_config up to write_zeroes_may_unmap (5.2.4)."""
_WRITEBACK = 32
"""The offset of its field `writeback`."""

_REQUESTS = "Requests of a block device's driver that were carried out."
_BYTES, _FAILED = "Bytes that a block device's driver read and wrote.", "Requests of a block device's driver that failed."
_BY_OPERATION = {
    operation: Figure("blk_requests", FigureKind.COUNTER, _REQUESTS, {"operation": operation.name.lower()})
    for operation in Operation
}
_BYTES_READ = Figure("blk_bytes", FigureKind.COUNTER, _BYTES, {"operation": "read"})
_BYTES_WRITTEN = Figure("blk_bytes", FigureKind.COUNTER, _BYTES, {"operation": "write"})
_ERRORS = Figure("blk_errors", FigureKind.COUNTER, _FAILED, {"reason": "host"})
_REFUSED = Figure("blk_errors", FigureKind.COUNTER, _FAILED, {"reason": "invalid"})
_FLUSH = Figure("blk_flush_seconds", FigureKind.HISTOGRAM, "From a block device's driver asking for a flush to its completion.")


class VirtioBlk(VirtioModel):
    """A disk. Requests are taken where the driver notifies and completed wherever the backend is done with them.

    Owner: the device lock.
    """

    device_id = 2

    def __init__(self, disk: Blockdev, clock: Clock, *, serial: str = "", queues: int = 1, writeback: bool = True) -> None:
        """`serial` has up to 20 bytes; `queues`, 1 to 16; without `writeback` a write is durable when it is completed.

        The driver may change `writeback` (VIRTIO_BLK_F_CONFIG_WCE).
        """
        self._disk, self._clock, self._writeback = disk, clock, writeback
        self._id = serial.encode().ljust(ID_BYTES, b"\0")
        self.queue_sizes = (QUEUE_SIZE,) * queues
        self.features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE | (F_MQ if queues > 1 else 0)
        self.features |= F_RO if disk.read_only else 0
        self.features |= (F_DISCARD if disk.can_discard else 0) | (F_WRITE_ZEROES if disk.can_write_zeroes else 0)
        self._done: deque[BlockRequest] = deque()
        """Completed by the backend, and not given back yet."""
        self._under_way = 0
        """Requests that the backend has."""
        self._paused = False
        self._rest = Wakeup()
        """Set when the last request under way is completed while the machine is paused."""
        self.requests = dict.fromkeys(Operation, 0)
        self.bytes_read = self.bytes_written = self.failed = self.refused = 0
        self.flushes = Histogram()
        self._cached = writeback
        """The driver's choice, as the configuration shows it."""
        self._set_config()
        disk.connect(self)

    # What the driver does, with the device lock held.

    @property
    def durable(self) -> bool:
        """True while a write is to be durable when it is completed (5.2.6.2)."""
        features = self.device.features
        return not (self._cached if features & F_CONFIG_WCE else features & F_FLUSH and self._writeback)

    def features_ok(self, features: int) -> bool:
        if features & F_CONFIG_WCE and not features & F_FLUSH:
            self._cached = False  # a driver that cannot flush (5.2.5.2)
            self._set_config()
        return True

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver may switch the write cache, and nothing else."""
        if offset == _WRITEBACK and len(data) == 1 and self.device.features & F_CONFIG_WCE:
            self._cached = bool(data[0])
            self._set_config()

    def notify(self, queue: Virtqueue) -> None:
        if self._paused:
            return
        for chain in queue.chains():
            self._begin(queue, chain)

    def _begin(self, queue: Virtqueue, chain: Chain) -> None:
        header = chain.read(0, HEADER.size)
        if len(header) < HEADER.size or not chain.writable_bytes:
            self.device.broken(f"queue {queue.index}: a request without a whole header or room for its status")
            return
        kind, _, sector = HEADER.unpack(header)
        if kind == RequestType.GET_ID:
            self._give_id(queue, chain)
            return
        try:
            request = parse(kind, sector, queue, chain, self._disk, durable=self.durable)
        except Refused as refused:
            self.refused += 1
            _give_back(queue, chain, refused.error)
            return
        request.since_ns = self._clock.now_ns() if request.operation is Operation.FLUSH else 0
        if self._disk.submit(request):
            self._finish(request)
        else:
            self._under_way += 1

    def _give_id(self, queue: Virtqueue, chain: Chain) -> None:
        if chain.writable_bytes < ID_BYTES + 1:
            self.refused += 1
            _give_back(queue, chain, errno.EINVAL)
        else:
            _give_back(queue, chain, 0, written=chain.write(self._id))

    def _finish(self, request: BlockRequest) -> None:
        """Give a request back that is done."""
        operation, size = request.operation, request.size
        if request.error:
            self.failed += 1
        else:
            self.requests[operation] += 1
            match operation:
                case Operation.READ:
                    self.bytes_read += size
                case Operation.WRITE:
                    self.bytes_written += size
                case Operation.FLUSH:
                    self.flushes.count(self._clock.now_ns() - request.since_ns)
                case Operation.DISCARD | Operation.WRITE_ZEROES:
                    pass
        reads = operation is Operation.READ and not request.error
        _give_back(request.queue, request.chain, request.error, written=size if reads else 0)

    def queue_reset(self, queue: Virtqueue) -> None:
        self._ended(len(self._disk.abandon(queue)))

    def reset(self) -> None:
        for queue in self.device.queues:
            self.queue_reset(queue)
        self._cached = self._writeback
        self._set_config()

    def _ended(self, count: int) -> None:
        self._under_way -= count
        if self._paused and not self._under_way:
            self._rest.set()

    def _set_config(self) -> None:
        disk = self._disk
        physical = disk.physical_block_size // disk.block_size
        discards = (MAX_RANGE_SECTORS, MAX_SEGMENTS, disk.physical_block_size // SECTOR) if disk.can_discard else (0, 0, 0)
        zeroes = (MAX_RANGE_SECTORS, MAX_SEGMENTS, 1) if disk.can_write_zeroes else (0, 0, 0)
        self.config = _CONFIG.pack(
            *(disk.capacity // SECTOR, 0, QUEUE_SIZE - 2),
            *(0, 0, 0, disk.block_size),
            *(physical.bit_length() - 1, 0, physical, 0),
            *(self._cached, len(self.queue_sizes), *discards, *zeroes),
        )

    # The backend's side.

    @property
    def lock(self) -> DeviceLock:
        return self.device.lock

    def afterwards(self, work: Callable[[], None]) -> bool:
        return self.device.afterwards(work)

    def completed(self, requests: Sequence[BlockRequest]) -> None:
        # Whoever gets the lock gives back what all have completed by then, with one interrupt.
        self._done.extend(requests)
        with self.device.lock:
            queues = set[Virtqueue]()
            while self._done:
                request = self._done.popleft()
                queues.add(request.queue)
                self._finish(request)
                self._ended(1)
            for queue in queues:
                queue.signal()

    def capacity_changed(self) -> None:
        with self.device.lock:
            self._set_config()
            self.device.config_changed()

    async def run(self) -> None:
        await self._disk.run()

    def refresh(self) -> None:
        """Look whether the disk has another size by now, and tell the driver. Event loop's thread."""
        self._disk.refresh()

    async def quiesce(self) -> None:
        with self.device.lock:
            self._paused = True
            under_way = self._under_way
        while under_way:
            await self._rest.wait()
            under_way = self._under_way

    async def resume(self) -> None:
        self._paused = False
        self.device.serve_later()

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        return (
            *((figure, self.requests[operation]) for operation, figure in _BY_OPERATION.items()),
            (_BYTES_READ, self.bytes_read),
            (_BYTES_WRITTEN, self.bytes_written),
            (_ERRORS, self.failed),
            (_REFUSED, self.refused),
            (_FLUSH, self.flushes),
        )


def _give_back(queue: Virtqueue, chain: Chain, error: int, *, written: int = 0) -> None:
    """Give `chain` back, `written` bytes of it written, with the status that `error` comes to."""
    if not queue.is_current(chain):
        return  # the driver has reset the queue: its memory is not ours any more
    status = RequestStatus.OK
    if error:
        status = RequestStatus.UNSUPP if error == errno.ENOTSUP else RequestStatus.IOERR
    at = chain.writable_bytes - 1
    chain.write_last(status)
    # What lies between the data and the status was not written: the length may not say so (2.7.8).
    queue.push(chain, at + 1 if written == at else written, read=chain.readable_bytes)
