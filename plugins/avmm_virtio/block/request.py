"""A request of a block driver (virtio 1.2, 5.2.6): what it asks for, looked at from all sides."""

from __future__ import annotations

import errno
import struct
from enum import IntEnum
from typing import Final

from avmm_virtio.block.blockdev import SECTOR, Blockdev, BlockRequest, Operation, Range
from avmm_virtio.chain import Chain
from avmm_virtio.virtqueue import Virtqueue

HEADER: Final = struct.Struct("<IIQ")
"""type, reserved, sector."""
SEGMENT: Final = struct.Struct("<QII")
"""struct virtio_blk_discard_write_zeroes: sector, num_sectors, flags."""
MAX_SEGMENTS: Final = 64
"""Ranges in one discard or write-zeroes request."""
MAX_RANGE_SECTORS: Final = 1 << 22
"""Sectors in one such range: 2 GiB."""
ID_BYTES: Final = 20
_UNMAP = 1


class RequestType(IntEnum):
    """The types that are known; a type of its own is none."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    DISCARD = 11
    WRITE_ZEROES = 13


class RequestStatus(IntEnum):
    """The last byte of every request, written by the device."""

    OK = 0
    IOERR = 1
    UNSUPP = 2


class Refused(Exception):
    """A request that is not carried out, with the errno that says why: ENOTSUP for UNSUPP, anything else for IOERR."""

    def __init__(self, error: int) -> None:
        self.error = error


def parse(kind: int, sector: int, queue: Virtqueue, chain: Chain, disk: Blockdev, *, durable: bool) -> BlockRequest:
    """The request for `disk` in `chain`, whose header says `kind` and `sector`; Refused when it cannot be carried out."""
    match kind:
        case RequestType.IN:
            request = BlockRequest(Operation.READ, queue, chain)
            request.size = chain.writable_bytes - 1
            _place(request, sector, disk)
            request.views = chain.writable_views(0, request.size)
        case RequestType.OUT:
            _writable(disk)
            request = BlockRequest(Operation.WRITE, queue, chain, durable=durable)
            request.size = chain.readable_bytes - HEADER.size
            _place(request, sector, disk)
            request.views = chain.readable_views(HEADER.size)
        case RequestType.FLUSH:
            request = BlockRequest(Operation.FLUSH, queue, chain, durable=True)
        case RequestType.DISCARD if disk.can_discard:
            _writable(disk)
            request = BlockRequest(Operation.DISCARD, queue, chain, durable=durable)
            request.ranges = _ranges(chain, disk, allowed=0)
        case RequestType.WRITE_ZEROES if disk.can_write_zeroes:
            _writable(disk)
            request = BlockRequest(Operation.WRITE_ZEROES, queue, chain, durable=durable)
            request.ranges = _ranges(chain, disk, allowed=_UNMAP)
        case _:
            raise Refused(errno.ENOTSUP)
    return request


def _writable(disk: Blockdev) -> None:
    if disk.read_only:
        raise Refused(errno.EROFS)


def _place(request: BlockRequest, sector: int, disk: Blockdev) -> None:
    request.offset, size = sector * SECTOR, request.size
    if not size or size % SECTOR or request.offset + size > disk.capacity:
        raise Refused(errno.EINVAL)


def _ranges(chain: Chain, disk: Blockdev, *, allowed: int) -> list[Range]:
    """The segments of a discard or write-zeroes request (5.2.6.1), whose flags may be `allowed`."""
    size = chain.readable_bytes - HEADER.size
    if not size or size % SEGMENT.size or size > MAX_SEGMENTS * SEGMENT.size:
        raise Refused(errno.EINVAL)
    ranges = []
    for sector, sectors, flags in SEGMENT.iter_unpack(chain.read(HEADER.size)):
        if flags & ~allowed:
            raise Refused(errno.ENOTSUP)
        if sectors > MAX_RANGE_SECTORS or (sector + sectors) * SECTOR > disk.capacity:
            raise Refused(errno.EINVAL)
        ranges.append((sector * SECTOR, sectors * SECTOR, bool(flags & _UNMAP)))
    return ranges
