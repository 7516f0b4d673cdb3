# SPDX-License-Identifier: GPL-2.0-or-later
"""The file that keeps translations of one kind of machine for later runs."""

from __future__ import annotations

import mmap
import os
import stat
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

from avmm.plugin import get_logger
from avmm_unicorn import _native, library

LEAST_BLOCKS = 2048
"""What a run must have translated by itself for the file to be written anew."""
MOST_BYTES = 128 << 20
UNUSED_S = 30 * 86_400
"""For how long a file is kept that nobody uses."""
SUFFIX = ".translations"
KEY_SIZE = 128


class TranslationCache:
    """A file in `folder` for machines of one kind. What goes wrong with it is told in the log, and costs nothing but time."""

    def __init__(self, folder: Path, machine: _native.Machine, cpu_model: int, parallel: bool) -> None:
        self._machine, self._folder = machine, folder
        self._key = key(cpu_model, parallel)
        self.path = folder / f"{zlib.crc32(self._key):08x}{SUFFIX}"
        self._log = get_logger(translation_cache=str(self.path))
        self._kept = False

    def use(self) -> None:
        """Give the machine what there is. Before its first vCPU is made."""
        try:
            contents = self._contents()
            if contents is not None:
                self._machine.use_translations(contents, self._key)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self._log.warning("translation cache not used", error=_reason(error))

    def keep(self) -> None:
        """Keep what was translated in this run, if that is worth it. Once, and before the first vCPU is closed."""
        if self._kept:
            return
        self._kept = True
        try:
            contents = self._machine.keep_translations(self._key, LEAST_BLOCKS, MOST_BYTES)
            if contents is not None:
                self._write(contents)
                self._remove_unused()
        except (OSError, MemoryError) as error:
            self._log.warning("translation cache not written", error=_reason(error))

    def _contents(self) -> mmap.mmap | None:
        """The file in memory; None if it is empty. What another user may have written is not executed: PermissionError."""
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise PermissionError("must be a file that nobody but its user can write, and this user's")
            with suppress(OSError):
                os.utime(file)  # in use
            return mmap.mmap(file, 0, access=mmap.ACCESS_READ) if status.st_size else None
        finally:
            os.close(file)

    def _write(self, contents: bytes) -> None:
        """In the place of what was there, whole or not at all: another machine may have that in use."""
        import tempfile  # takes longer than all else here, and most runs have nothing to write

        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file, name = tempfile.mkstemp(SUFFIX, "new-", self._folder)  # of mode 0600
        try:
            with open(file, "wb", buffering=0) as raw:
                view = memoryview(contents)
                while view:
                    view = view[raw.write(view) or 0 :]
            os.replace(name, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise

    def _remove_unused(self) -> None:
        """Those of other hosts, libraries and kinds of machines, and what was left behind half-written."""
        oldest = time.time() - UNUSED_S
        for path in self._folder.glob("*" + SUFFIX):
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def key(cpu_model: int, parallel: bool) -> bytes:
    """What translations depend on, beside the guest: the library, this extension, the machine's kind, and the host's CPU."""
    stats = [os.stat(path) for path in (library.library_path(), _native.__file__)]
    numbers = struct.pack("4Q2I", *[n for one in stats for n in (one.st_size, one.st_mtime_ns)], cpu_model, parallel)
    return (numbers + _native.host_features()).ljust(KEY_SIZE, b"\0")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or "out of memory"
