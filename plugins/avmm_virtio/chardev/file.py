"""A file as the host's end of a port: what the guest writes is appended to it."""

from __future__ import annotations

import asyncio
from typing import BinaryIO, Final

from avmm.plugin import get_logger
from avmm_virtio.chardev.base import Chardev

LIMIT: Final = 1 << 18
"""Bytes that wait for a slow disk before no more are taken from the guest."""


class FileChardev(Chardev):
    """Appends to a file, in a thread: a disk may take its time. Owner: the event loop."""

    always_open = True

    def __init__(self, name: str, file: BinaryIO) -> None:
        """`name` is what the log calls it; `file` is unbuffered, and the chardev's own from now on."""
        super().__init__()
        self._log = get_logger(port=name)
        self._file = file
        self._pending = bytearray()
        self._more = asyncio.Event()

    def write(self, data: bytes) -> int:
        taken = data[: LIMIT - len(self._pending)]
        self._pending += taken
        self._more.set()
        return len(taken)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._more.wait()
                self._more.clear()
                full = len(self._pending) >= LIMIT
                writing = loop.run_in_executor(None, self._append, self._take())
                try:
                    await asyncio.shield(writing)
                finally:
                    await asyncio.wait([writing])  # cancelled or not: what comes behind it comes later
                if full:
                    self._receiver.writable()
        finally:
            self._append(self._take())
            self._file.close()

    def _take(self) -> bytes:
        data = bytes(self._pending)
        self._pending.clear()
        return data

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._file.write(view) :]
            except OSError as error:
                if not self.lost:
                    self._log.warning("port's file not written", file=self._file.name, error=error.strerror or str(error))
                self.lost += len(view)
                return
