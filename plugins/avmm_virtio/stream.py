"""Network backends whose other end is a stream socket: a client, a server, and what both are made of."""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod
from collections.abc import Sequence

from avmm.plugin import get_logger
from avmm_virtio.frame_sender import FrameSender
from avmm_virtio.framing import FrameReader, FramingError, framed
from avmm_virtio.netdev import Netdev
from avmm_virtio.peer import Peer, Sleep, accept, keep_connected
from avmm_virtio.sockets import Address


class Connection(Peer, asyncio.BufferedProtocol):
    """One connection to a peer that sends frames."""

    write_limit = 1 << 20
    """Up to one batch of frames comes on top."""

    def __init__(self, netdev: StreamNetdev) -> None:
        super().__init__()
        self._netdev = netdev
        self._reader = FrameReader()

    def made(self) -> None:
        assert self._transport is not None
        self._sender = FrameSender(self._transport)
        self._netdev.connected(self)

    def gone(self) -> None:
        self._sender.close()
        self._netdev.disconnected(self)

    def drained(self) -> None:
        self._netdev.drained(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.filled(nbytes)
        self.deliver()

    def deliver(self) -> None:
        """Hand on every whole frame. What the receiver has no room for stays here, and nothing more is read."""
        if not self.open:
            return
        try:
            frames = self._reader.frames()
        except FramingError as error:
            self._netdev.malformed += 1
            self.close(str(error))
            return
        taken = self._netdev.received(frames)
        self._reader.consume(frames[:taken])
        self.read(wanted=taken == len(frames))

    def send(self, frames: Sequence[bytes]) -> None:
        """Frames for the peer."""
        self._sender.flush()
        self.write(framed(frames))

    def send_at_once(self, frames: Sequence[bytes]) -> int:
        """Those frames that the socket takes now; how many. Any thread."""
        return self._sender.send(frames)


class StreamNetdev(Netdev):
    """A backend with one peer at a time on a stream socket."""

    sends_at_once = True

    def __init__(self, name: str) -> None:
        """`name` is what the log calls it."""
        super().__init__()
        self._connection: Connection | None = None
        self.log = get_logger(netdev=name)
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

    def send_at_once(self, frames: Sequence[bytes]) -> int:
        connection = self._connection
        return 0 if connection is None else connection.send_at_once(frames)

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
        try:
            await keep_connected(
                self._address,
                lambda: Connection(self),
                self.log,
                "network peer",
                reconnect_s=self._reconnect_s,
                sleep=self._sleep,
            )
        finally:
            self.hang_up()


class StreamServer(StreamNetdev):
    """Waits for a peer, one at a time; a second is turned away."""

    def __init__(self, name: str, listening: socket.socket) -> None:
        """`listening` is the backend's own from now on."""
        super().__init__(name)
        self._listening = listening

    async def run(self) -> None:
        try:
            await accept(self._listening, lambda: Connection(self))
        finally:
            self.hang_up()
