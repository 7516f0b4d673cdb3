"""Our standard input, for the guest's console: a terminal, a pipe, a file, or nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from avmm.console import Console
from avmm.console_writer import ConsoleWriter

_CHUNK = 4096


class ConsoleInput:
    """Reads a file descriptor on the event loop and types on a console what comes, until its end. Owned by the loop.

    While the guest has no room for more, no more is read: whoever writes there waits.
    """

    def __init__(self, fd: int | None, console: Console, plain: Callable[[bytes], bytes], *, ahead: int = 0) -> None:
        """`plain` is called with what was read, and gives what of it is for the guest.

        Up to `ahead` bytes and a read more may wait for a guest that has no room: so far is `plain` ahead of it.
        """
        self._fd, self._plain, self._ahead = fd, plain, ahead
        self._loop = asyncio.get_running_loop()
        self._writer = ConsoleWriter(console, self._on_room)
        self._reading = self._pollable = False
        self._over = False
        """Nothing more comes, or it is not wanted."""
        self._next: asyncio.Handle | None = None

    def start(self) -> None:
        """Begin to read."""
        if self._fd is None:
            self._over = True
            return
        self._pollable = True
        self._resume()

    def stop(self) -> None:
        """Read no more, and forget what waits for the guest."""
        self._pause()
        self._over = True
        self._writer.close()

    def _resume(self) -> None:
        self._reading = True
        assert self._fd is not None
        if self._pollable:
            try:
                self._loop.add_reader(self._fd, self._on_readable)
            except PermissionError:
                # A regular file, or /dev/null: always readable, which the kernel's polling does not offer.
                self._pollable = False
        if not self._pollable:
            self._next = self._loop.call_soon(self._on_readable)

    def _pause(self) -> None:
        if not self._reading:
            return
        self._reading = False
        if self._next is not None:
            self._next.cancel()
        if self._pollable and self._fd is not None:
            self._loop.remove_reader(self._fd)

    def _on_readable(self) -> None:
        assert self._fd is not None
        try:
            data = os.read(self._fd, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""  # a terminal that went away
        if not data:
            self._pause()
            self._over = True  # what waits for the guest still goes to it
            return
        self._writer.write(self._plain(data))
        if self._writer.waiting > self._ahead:
            self._pause()
        elif not self._pollable:
            self._next = self._loop.call_soon(self._on_readable)

    def _on_room(self) -> None:
        if not self._reading and not self._over and self._writer.waiting <= self._ahead:
            self._resume()
