"""A stream socket as the host's end of a port: one peer at a time, who may come and go."""

from __future__ import annotations

import asyncio
import socket
from abc import abstractmethod

from avmm.plugin import get_logger
from avmm_virtio.chardev.base import Chardev
from avmm_virtio.peer import Peer, Sleep, accept, keep_connected
from avmm_virtio.sockets import Address


class _Connection(Peer, asyncio.Protocol):
    """A peer that sends bytes. Those that the guest has no room for are kept, and no more are read."""

    def __init__(self, chardev: StreamChardev) -> None:
        super().__init__()
        self._chardev = chardev
        self._held = b""

    def made(self) -> None:
        self._chardev.connected(self)

    def gone(self) -> None:
        self._chardev.disconnected(self)

    def drained(self) -> None:
        self._chardev.drained(self)

    def data_received(self, data: bytes) -> None:
        # An event loop may deliver what it has read already after reading was paused.
        self._held += data
        self.deliver()

    def deliver(self) -> None:
        """Hand on what there is."""
        if self._held and self.open:
            self._held = self._held[self._chardev.received(self, self._held) :]
        self.read(wanted=not self._held)


class StreamChardev(Chardev):
    """One peer at a time on a stream socket; a second is turned away."""

    def __init__(self, name: str) -> None:
        """`name` is what the log calls it."""
        super().__init__()
        self.log = get_logger(port=name)
        self._connection: _Connection | None = None

    @abstractmethod
    async def run(self) -> None: ...

    def write(self, data: bytes) -> int:
        connection = self._connection
        if connection is None or not connection.writable:
            return 0
        connection.write(data)
        return len(data)

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.deliver()

    # Told by the connection.

    def connected(self, connection: _Connection) -> None:
        """A peer is there."""
        if self._connection is not None:
            connection.close("another peer is connected")
            return
        self._connection = connection
        self._receiver.opened(up=True)

    def disconnected(self, connection: _Connection) -> None:
        """It has gone."""
        if self._connection is connection:
            self._connection = None
            self._receiver.opened(up=False)

    def drained(self, connection: _Connection) -> None:
        """It takes bytes again."""
        if self._connection is connection:
            self._receiver.writable()

    def received(self, connection: _Connection, data: bytes) -> int:
        """It sent bytes; how many the guest took."""
        return self._receiver.receive(data) if self._connection is connection else len(data)

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close("the machine ended")


class StreamChardevClient(StreamChardev):
    """Connects to a peer, and again whenever it is lost or not there yet."""

    def __init__(self, name: str, address: Address, *, reconnect_s: float = 1.0, sleep: Sleep = asyncio.sleep) -> None:
        """Tries again after `reconnect_s` seconds; 0 is never."""
        super().__init__(name)
        self._address, self._reconnect_s, self._sleep = address, reconnect_s, sleep

    async def run(self) -> None:
        try:
            await keep_connected(
                self._address,
                lambda: _Connection(self),
                self.log,
                "port's peer",
                reconnect_s=self._reconnect_s,
                sleep=self._sleep,
            )
        finally:
            self.hang_up()


class StreamChardevServer(StreamChardev):
    """Waits for a peer."""

    def __init__(self, name: str, listening: socket.socket) -> None:
        """`listening` is the chardev's own from now on."""
        super().__init__(name)
        self._listening = listening

    async def run(self) -> None:
        try:
            await accept(self._listening, lambda: _Connection(self))
        finally:
            self.hang_up()
