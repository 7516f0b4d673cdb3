"""Our standard input, for the guest's console: a terminal, a pipe, a file, or nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_CHUNK = 4096


class ConsoleInput:
    """Reads a file descriptor on the event loop and hands on what comes, until its end. Owned by the loop."""

    def __init__(self, fd: int | None, receive: Callable[[bytes], object]) -> None:
        self._fd, self._receive = fd, receive
        self._loop = asyncio.get_running_loop()
        self._pollable = False
        self._next: asyncio.Handle | None = None

    def start(self) -> None:
        """Begin to read."""
        if self._fd is None:
            return
        try:
            self._loop.add_reader(self._fd, self._on_readable)
            self._pollable = True
        except PermissionError:
            # A regular file, or /dev/null: always readable, which the kernel's polling does not offer.
            self._next = self._loop.call_soon(self._on_readable)

    def stop(self) -> None:
        """Read no more."""
        if self._next is not None:
            self._next.cancel()
        if self._pollable and self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._pollable = False

    def _on_readable(self) -> None:
        assert self._fd is not None
        try:
            data = os.read(self._fd, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""  # a terminal that went away
        if not data:
            self.stop()
            return
        self._receive(data)
        if not self._pollable:
            self._next = self._loop.call_soon(self._on_readable)
