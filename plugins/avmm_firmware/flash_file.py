"""The file behind a flash bank: read once, and written through."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from avmm.plugin import LoadError
from avmm_firmware.flash import Memory

_CHUNK = 1 << 16
_ZEROS = bytes(_CHUNK)


class FlashFile:
    """A file of at most the bank's size; what lies behind its end reads as zero, and comes to be in the file once it is written.

    A file that can be written is created when it is not there, and this machine's alone while it is open. LoadError says in
    one line why it cannot be used.
    """

    def __init__(self, path: Path, size: int, *, read_only: bool) -> None:
        self.path = path
        self._fd = _open(path, read_only=read_only)
        try:
            status = os.fstat(self._fd)
            if not stat.S_ISREG(status.st_mode):
                raise LoadError(f"{path}: is not a regular file")
            if status.st_size > size:
                raise LoadError(f"{path}: has {status.st_size:#x} bytes, more than the flash's {size:#x}")
            if read_only and not status.st_size:
                raise LoadError(f"{path}: is empty")
            if not read_only:
                _lock(self._fd, path)
        except LoadError:
            self.close()
            raise

    def load(self, memory: Memory) -> None:
        """Read the file into `memory`, which is all zero; pages of zeros stay untouched there."""
        for offset in range(0, len(memory), _CHUNK):
            try:
                chunk = os.pread(self._fd, _CHUNK, offset)
            except OSError as error:
                raise LoadError(f"{self.path}: {error.strerror}") from None
            if not chunk:
                return
            if chunk != _ZEROS:
                memory[offset : offset + len(chunk)] = chunk

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`; OSError when the host cannot."""
        while data:
            written = os.pwrite(self._fd, data, offset)
            data, offset = data[written:], offset + written

    def sync(self) -> None:
        """Have the host's disk keep what was written. May take its time."""
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def _open(path: Path, *, read_only: bool) -> int:
    flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
    try:
        # Without waiting: a pipe would have us wait for its other end.
        return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LoadError(f"{path}: another machine uses it") from None
    except OSError as error:
        raise LoadError(f"{path}: cannot be locked: {error.strerror}") from None
