"""Network backends whose other end is a stream socket: a client, a server, and what both are made of."""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import structlog

from avmm_virtio.framing import FrameReader, FramingError, framed
from avmm_virtio.netdev import Netdev
from avmm_virtio.sockets import Address, TcpAddress, UnixAddress, unlink

_WRITE_LIMIT = 1 << 20
"""Bytes that wait for a slow peer before no more frames are taken; up to one batch of frames comes on top."""

Sleep = Callable[[float], Awaitable[None]]


class Connection(asyncio.BufferedProtocol):
    """One connection to a peer, from its making to its loss. Owner: the event loop."""

    def __init__(self, netdev: StreamNetdev) -> None:
        self._netdev = netdev
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self.writable = True
        self.lost = asyncio.Event()
        self.why = "closed by the peer"
        """Why it was lost, in a few words."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport = stream
        stream.set_write_buffer_limits(high=_WRITE_LIMIT)
        made = stream.get_extra_info("socket")
        if made is not None and made.family in (socket.AF_INET, socket.AF_INET6):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._netdev.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._netdev.disconnected(self)
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
        self._netdev.drained(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.filled(nbytes)
        self.deliver()

    def deliver(self) -> None:
        """Hand on every whole frame. What the receiver has no room for stays here, and nothing more is read."""
        if self._transport is None or self._transport.is_closing():
            return
        try:
            frames = self._reader.frames()
        except FramingError as error:
            self._netdev.malformed += 1
            self.close(str(error))
            return
        taken = self._netdev.received(frames)
        self._reader.consume(frames[:taken])
        if self._reading != (taken == len(frames)):
            self._reading = not self._reading
            if self._reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def send(self, frames: Sequence[bytes]) -> None:
        """Frames for the peer; the transport keeps what the socket does not take at once."""
        assert self._transport is not None
        self._transport.write(framed(frames))


class StreamNetdev(Netdev):
    """A backend with one peer at a time on a stream socket."""

    def __init__(self, name: str) -> None:
        """`name` is what the log calls it."""
        super().__init__()
        self._connection: Connection | None = None
        self.log = structlog.get_logger("avmm", netdev=name)
        self.connections = 0
        """Connections made so far."""
        self.malformed = 0
        """Connections closed because the peer sent what cannot be a frame."""
        self.undelivered = 0
        """Frames from the guest that were dropped because nobody was connected."""

    @abstractmethod
    async def run(self) -> None: ...

    def send(self, frames: Sequence[bytes]) -> int:
        connection = self._connection
        if connection is None:
            self.undelivered += len(frames)
            return len(frames)
        if not connection.writable:
            return 0
        connection.send(frames)
        return len(frames)

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.deliver()

    # Told by the connection.

    def connected(self, connection: Connection) -> None:
        """A peer is there."""
        if self._connection is not None:
            connection.close("another peer is connected")
            return
        self._connection = connection
        self.connections += 1
        self._receiver.carrier(up=True)

    def disconnected(self, connection: Connection) -> None:
        """It has gone; what is sent now is dropped."""
        if self._connection is connection:
            self._connection = None
            self._receiver.carrier(up=False)
            self._receiver.writable()

    def drained(self, connection: Connection) -> None:
        """It takes frames again."""
        if self._connection is connection:
            self._receiver.writable()

    def received(self, frames: Sequence[memoryview]) -> int:
        """It sent frames; how many the guest took."""
        return self._receiver.receive(frames)

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close("the machine ended")


class StreamClient(StreamNetdev):
    """Connects to a peer, and again whenever it is lost or not there yet."""

    def __init__(self, name: str, address: Address, *, reconnect_s: float = 1.0, sleep: Sleep = asyncio.sleep) -> None:
        """Tries again after `reconnect_s` seconds; 0 is never."""
        super().__init__(name)
        self._address, self._reconnect_s, self._sleep = address, reconnect_s, sleep

    async def run(self) -> None:
        told = False
        try:
            while True:
                try:
                    connection = await self._connect()
                except OSError as error:
                    why, event = error.strerror or str(error), "network peer not reached"
                else:
                    await connection.lost.wait()
                    why, event, told = connection.why, "network peer lost", False
                if not told:
                    self.log.warning(event, peer=str(self._address), error=why, reconnect_s=self._reconnect_s)
                told = True
                if not self._reconnect_s:
                    return
                await self._sleep(self._reconnect_s)
        finally:
            self.hang_up()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()

        def factory() -> Connection:
            return Connection(self)

        match self._address:
            case UnixAddress(path):
                return (await loop.create_unix_connection(factory, path))[1]
            case TcpAddress(host, port):
                return (await loop.create_connection(factory, host or "localhost", port))[1]


class StreamServer(StreamNetdev):
    """Waits for a peer, one at a time; a second is turned away."""

    def __init__(self, name: str, listening: socket.socket) -> None:
        """`listening` is the backend's own from now on."""
        super().__init__(name)
        self._listening = listening

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        unix = self._listening.family == socket.AF_UNIX
        path = self._listening.getsockname() if unix else None
        start = loop.create_unix_server if unix else loop.create_server
        server = await start(lambda: Connection(self), sock=self._listening)
        try:
            await loop.create_future()
        finally:
            server.close()
            self.hang_up()
            if path is not None:
                unlink(path)
