"""One connection on a stream socket, and connections taken from a socket that listens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from avmm_virtio.sockets import unlink


class Peer(asyncio.BaseProtocol):
    """A connection from its making to its loss. Owner: the event loop. `made`, `gone` and `drained` are for those who derive."""

    write_limit = 1 << 16
    """Bytes that wait for a slow peer before `writable` is false."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self.writable = True
        self.lost = asyncio.Event()
        self.why = "closed by the peer"
        """Why it was lost, in a few words."""

    def made(self) -> None:
        """It is there."""

    def gone(self) -> None:
        """It is lost."""

    def drained(self) -> None:
        """It is writable again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport = stream
        stream.set_write_buffer_limits(high=self.write_limit)
        made = stream.get_extra_info("socket")
        if made is not None and made.family in (socket.AF_INET, socket.AF_INET6):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.made()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.gone()
        if exc is not None:
            self.why = str(exc)
        self.lost.set()

    def close(self, why: str) -> None:
        """Hang up, whatever is under way."""
        if self._transport is not None:
            self.why = why
            self._transport.abort()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self.drained()

    @property
    def open(self) -> bool:
        """True while it is neither lost nor being closed."""
        return self._transport is not None and not self._transport.is_closing()

    def read(self, *, wanted: bool) -> None:
        """Read on, or leave what comes with the peer."""
        if self._reading != wanted and self._transport is not None:
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Bytes for the peer; what the socket does not take at once is kept."""
        assert self._transport is not None
        self._transport.write(data)


async def accept(listening: socket.socket, factory: Callable[[], Peer]) -> None:
    """Take connections until cancelled; then the socket is closed, and a Unix socket's path removed."""
    loop = asyncio.get_running_loop()
    unix = listening.family == socket.AF_UNIX
    path = listening.getsockname() if unix else None
    start = loop.create_unix_server if unix else loop.create_server
    server = await start(factory, sock=listening)
    try:
        await loop.create_future()
    finally:
        server.close()
        if path is not None:
            unlink(path)
