"""What a disk's data is on: the interface between the block device that the guest sees and whatever is behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final, Protocol

from avmm.plugin import DeviceLock
from avmm_virtio.chain import Chain
from avmm_virtio.virtqueue import Virtqueue

SECTOR: Final = 512
"""Bytes in the unit that virtio counts disks in, whatever the disk's own blocks are (virtio 1.2, 5.2)."""
Range = tuple[int, int, bool]
"""Where, how many bytes, and whether what is zero there may be unmapped."""


class Operation(IntEnum):
    """What is asked of a disk. READ and WRITE are those that touch guest memory."""

    READ = 0
    WRITE = 1
    FLUSH = 2
    DISCARD = 3
    WRITE_ZEROES = 4


class BlockRequest:
    """A request that was found good: within the disk, and of a kind it knows. Owner: the backend, until it is completed."""

    __slots__ = ("chain", "durable", "error", "offset", "operation", "queue", "ranges", "since_ns", "size", "views")

    def __init__(self, operation: Operation, queue: Virtqueue, chain: Chain, *, durable: bool = False) -> None:
        self.operation, self.queue, self.chain = operation, queue, chain
        self.durable = durable
        """Complete it only when it would outlive a loss of power, like a write that a flush follows."""
        self.offset = self.size = 0
        """READ, WRITE: the first byte on the disk, and how many."""
        self.views: Sequence[memoryview] = ()
        """READ, WRITE: the guest's memory, as many bytes. Gone once the backend has completed it."""
        self.ranges: Sequence[Range] = ()
        """DISCARD, WRITE_ZEROES: which bytes."""
        self.error = 0
        """What became of it: 0, or an errno."""
        self.since_ns = 0
        """When it was begun."""


class BlockReceiver(Protocol):
    """The block device in front of a backend."""

    @property
    def lock(self) -> DeviceLock:
        """The device lock, for a backend that touches guest memory beside `submit`."""

    def afterwards(self, work: Callable[[], None]) -> bool:
        """Asked in `submit`: have `work` done, without the device lock, on the thread that notifies. False: nobody would."""

    def completed(self, requests: Sequence[BlockRequest]) -> None:
        """These are done, each with its `error`, and guest memory was let go of. Any thread, without the device lock."""

    def capacity_changed(self) -> None:
        """`capacity` is another. Event loop's thread."""


class Blockdev(ABC):
    """A backend of one disk. Derive from it for one of your own."""

    capacity: int
    """Bytes, a multiple of 512."""
    read_only: bool = False
    can_discard: bool = False
    can_write_zeroes: bool = False
    block_size: int = SECTOR
    """The smallest unit it is addressed in, in bytes: a power of 2 from 512 on."""
    physical_block_size: int = SECTOR
    """The smallest unit it writes without reading first, in bytes: a power of 2 from `block_size` on."""
    _receiver: BlockReceiver

    def connect(self, receiver: BlockReceiver) -> None:
        """The device in front of it. Called once, before anything else."""
        self._receiver = receiver

    @abstractmethod
    def submit(self, request: BlockRequest) -> bool:
        """Begin `request`, with the device lock held. True: it is done already; else `completed` follows. Must not wait."""

    @abstractmethod
    def abandon(self, queue: Virtqueue) -> Sequence[BlockRequest]:
        """The driver takes back the memory of what is in `queue`: once this returns, none of it is touched any more.

        Requests that have not begun are dropped and returned; those under way are completed later. Device lock held.
        """

    async def run(self) -> None:
        """Live beside the guest until cancelled. When this ends nothing is under way, and what was opened is closed."""

    def refresh(self) -> None:
        """Look whether the capacity is another. Event loop's thread."""
