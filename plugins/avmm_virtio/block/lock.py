"""Locks on disk images, such that two machines do not write the same one.

They are the byte locks of QEMU's file driver (its block/file-posix.c): avmm, QEMU, qemu-nbd and qemu-img see each other's. Locks
belong to the open file description (fcntl(2), F_OFD_SETLK): they end with it, however the process ends.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from typing import Final

_FLOCK = struct.Struct("@hhqqi4x")
"""struct flock: type, whence, start, length, pid."""
_USED, _UNSHARED = 100, 200
"""Where the bytes begin that say what an owner does, and what it wants nobody else to do: one byte for each permission."""
_READ, _WRITE, _RESIZE = 0, 1, 3
_PERMISSIONS: Final = (_READ, _WRITE, _RESIZE)


class ImageInUse(Exception):
    """Somebody else has the image, and one of the two would write."""


def lock(fd: int, *, read_only: bool) -> None:
    """Lock the open file `fd`: shared with other readers, or for its one writer. ImageInUse when it cannot be.

    A file system without locks is no reason to refuse a disk; OSError is for everything else that can be wrong.
    """
    try:
        for permission in (_READ,) if read_only else (_READ, _WRITE):
            _set(fd, _USED + permission)
        for permission in (_WRITE, _RESIZE):
            _set(fd, _UNSHARED + permission)
        # Our own bytes first, then a look at the others': of two who come together one at least sees the other.
        for permission in _PERMISSIONS:
            does = permission == _READ or (permission == _WRITE and not read_only)
            if (does and _held(fd, _UNSHARED + permission)) or (permission != _READ and _held(fd, _USED + permission)):
                raise ImageInUse
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
            raise


def _set(fd: int, byte: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, 0, byte, 1, 0))


def _held(fd: int, byte: int) -> bool:
    """Somebody else has this byte."""
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, byte, 1, 0))
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
