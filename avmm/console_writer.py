"""Somebody who types on a VM's console, maybe faster than the guest reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from avmm.console import Console


def _nobody() -> None:
    """The owner of a writer who does not care how much waits."""


class ConsoleWriter:
    """Types on a console, in order and as it has room. Owned by the event loop; needs a running one.

    What the console has no room for waits here, without a bound of its own: it is for the owner to ask for no more.
    """

    def __init__(self, console: Console, on_room: Callable[[], object] = _nobody) -> None:
        """`on_room` is called whenever the guest has read and fewer bytes wait than before."""
        self._console, self._on_room = console, on_room
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._call_off: Callable[[], None] | None = None
        """There while the console is to tell of room."""
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many bytes the console has no room for."""
        return len(self._waiting)

    def write(self, data: bytes) -> None:
        """Type `data`, behind what waits."""
        self._waiting += data
        if self._call_off is None:
            self._pour()

    def close(self) -> None:
        """Forget what waits, and type no more."""
        self._closed = True
        self._waiting.clear()
        if self._call_off is not None:
            self._call_off()

    def _pour(self) -> None:
        while self._waiting and (taken := self._console.input(bytes(self._waiting[: Console.LIMIT]))):
            del self._waiting[:taken]
        if self._waiting:
            self._call_off = self._console.when_room(self._room)

    def _room(self) -> None:
        """On any thread, with the device lock held."""
        self._loop.call_soon_threadsafe(self._again)

    def _again(self) -> None:
        self._call_off = None
        if not self._closed:
            self._pour()
            self._on_room()
