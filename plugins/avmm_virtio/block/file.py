"""Disks that are files of the host's, or its block devices."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import os
import stat
import struct
import threading
from collections.abc import Sequence
from typing import BinaryIO

from avmm.plugin import get_logger
from avmm_virtio.block.blockdev import SECTOR, Blockdev, BlockRequest, Operation
from avmm_virtio.block.lock import ImageInUse, lock
from avmm_virtio.block.workers import IN_PLACE, Workers
from avmm_virtio.virtqueue import Virtqueue

_PUNCH_HOLE, _ZERO_RANGE = 0x02 | 0x01, 0x10 | 0x01
"""fallocate(2): FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, each with FALLOC_FL_KEEP_SIZE."""
_BLKSSZGET, _BLKPBSZGET = 0x1268, 0x127B
_ZEROES = bytes(1 << 20)
_PAGE = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def open_image(path: str, *, read_only: bool) -> BinaryIO:
    """The image at `path`, open and locked; ValueError says in one line why it cannot be a disk."""
    try:
        fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK)  # not to wait for a FIFO
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}{_advice(error, read_only=read_only)}") from None
    try:
        _check(fd, path)
        lock(fd, read_only=read_only)
    except ImageInUse:
        os.close(fd)
        who = "somebody else writes it" if read_only else "somebody else has it open"
        raise ValueError(f"{path}: {who}: two machines on one disk would destroy its contents") from None
    except (ValueError, OSError):
        os.close(fd)
        raise
    return os.fdopen(fd, "rb" if read_only else "r+b", buffering=0)


def _advice(error: OSError, *, read_only: bool) -> str:
    return "; readonly needs less" if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM) and not read_only else ""


def _check(fd: int, path: str) -> None:
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise ValueError(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'} and no block device")
    size = _size(fd)
    if size % SECTOR or not size:
        raise ValueError(f"{path}: has {size} bytes, which is not a multiple of {SECTOR} from {SECTOR} on")


def _size(fd: int) -> int:
    return os.lseek(fd, 0, os.SEEK_END)


class FileBlockdev(Blockdev):
    """A file or block device, by way of the host's page cache. A flush is fdatasync(2)."""

    def __init__(
        self, name: str, image: BinaryIO, *, read_only: bool, discard: bool = True, block_size: int | None = None
    ) -> None:
        """`image` is the backend's own from now on; without `discard`, what the guest discards or zeroes stays allocated."""
        self._image, self._fd, self.read_only = image, image.fileno(), read_only
        self._log = get_logger(disk=name)
        self._workers = Workers(name, self._carry_out, lambda requests: self._receiver.completed(requests))
        self.capacity = _size(self._fd)
        self.can_write_zeroes, self.can_discard, self._discard = not read_only, discard and not read_only, discard
        self.block_size, self.physical_block_size = self._block_sizes(block_size)
        self._loop_thread = threading.get_ident()
        self.in_place = 0
        """Reads that the page cache had."""
        self.failures = 0
        """Requests that the host failed."""

    def _block_sizes(self, wanted: int | None) -> tuple[int, int]:
        if not stat.S_ISBLK(os.fstat(self._fd).st_mode):
            logical = wanted or SECTOR
            return logical, max(logical, _PAGE)
        logical, physical = (struct.unpack("i", fcntl.ioctl(self._fd, query, bytes(4)))[0] for query in (_BLKSSZGET, _BLKPBSZGET))
        return max(wanted or SECTOR, logical), max(wanted or SECTOR, logical, physical)

    def submit(self, request: BlockRequest) -> bool:
        match request.operation:
            case Operation.READ if request.size <= IN_PLACE and self._read_cached(request):
                return True
            case Operation.WRITE if self._may_write_here(request):
                self._workers.leave(request)
            case _:
                self._workers.submit(request)
        return False

    def _may_write_here(self, request: BlockRequest) -> bool:
        """Whether the thread that notifies may write what it brings: into the page cache, and never if it is the event loop's."""
        return (
            not request.durable
            and threading.get_ident() != self._loop_thread
            and self._workers.worth_leaving(request)
            and self._receiver.afterwards(self._workers.work_here)
        )

    def _read_cached(self, request: BlockRequest) -> bool:
        try:
            if os.preadv(self._fd, request.views, request.offset, os.RWF_NOWAIT) == request.size:
                request.views = ()
                self.in_place += 1
                return True
        except OSError:
            pass  # not in the page cache, or a file system that cannot tell; what is wrong otherwise shows on a thread
        return False

    def abandon(self, queue: Virtqueue) -> Sequence[BlockRequest]:
        return self._workers.abandon(queue)

    async def run(self) -> None:
        self._loop_thread = threading.get_ident()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._workers.close()
            self._image.close()

    def refresh(self) -> None:
        size = _size(self._fd) // SECTOR * SECTOR
        if size != self.capacity:
            self.capacity = size
            self._receiver.capacity_changed()

    # On the threads.

    def _carry_out(self, request: BlockRequest) -> None:
        try:
            match request.operation:
                case Operation.READ:
                    self._workers.about_to_block()
                    self._read(request)
                case Operation.WRITE:
                    self._write(request)
                case Operation.FLUSH:
                    self._workers.about_to_block()
                    os.fdatasync(self._fd)
                case Operation.DISCARD:
                    self._workers.about_to_block()
                    for at, size, _ in request.ranges:
                        self._allocate(_PUNCH_HOLE, at, size)
                case Operation.WRITE_ZEROES:
                    self._workers.about_to_block()
                    for at, size, unmap in request.ranges:
                        self._write_zeroes(at, size, unmap=unmap and self._discard)
            if request.durable and request.ranges:
                os.fdatasync(self._fd)
        except OSError as error:
            request.error = error.errno or errno.EIO
            self._tell(request, error)

    def _tell(self, request: BlockRequest, error: OSError) -> None:
        """The first failure gets a line, then ever fewer do."""
        if request.error != errno.ENOTSUP:
            self.failures += 1
            if not self.failures & self.failures - 1:
                what = request.operation.name.lower()
                self._log.warning("disk request failed", operation=what, error=error.strerror, count=self.failures)

    def _read(self, request: BlockRequest) -> None:
        views, at, left = request.views, request.offset, request.size
        while left:
            count = os.preadv(self._fd, views, at)
            if not count:
                raise OSError(errno.EIO, "the image is shorter than it was")
            views, at, left = _rest(views, count), at + count, left - count

    def _write(self, request: BlockRequest) -> None:
        views, at, left, flags = request.views, request.offset, request.size, 0
        if request.durable:
            self._workers.about_to_block()
            flags = os.RWF_DSYNC
        while left:
            count = os.pwritev(self._fd, views, at, flags)
            views, at, left = _rest(views, count), at + count, left - count

    def _write_zeroes(self, at: int, size: int, *, unmap: bool) -> None:
        try:
            self._allocate(_PUNCH_HOLE if unmap else _ZERO_RANGE, at, size)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            while size:
                count = os.pwrite(self._fd, memoryview(_ZEROES)[: min(size, len(_ZEROES))], at)
                at, size = at + count, size - count

    def _allocate(self, mode: int, at: int, size: int) -> None:
        while size and _libc.fallocate(self._fd, mode, at, size):
            if (error := ctypes.get_errno()) != errno.EINTR:
                raise OSError(error, os.strerror(error))


def _rest(views: Sequence[memoryview], count: int) -> Sequence[memoryview]:
    """What is left of `views` behind their first `count` bytes."""
    rest = []
    for view in views:
        if count < len(view):
            rest.append(view[count:])
        count = max(0, count - len(view))
    return rest
