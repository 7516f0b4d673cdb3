"""One peer at a time on a stream socket, who may come and go: what backends of networks and of ports that have one share."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from avmm.plugin import EventLogger
from avmm_virtio.peer import Peer, accept
from avmm_virtio.sockets import Address, TcpAddress, UnixAddress

Sleep = Callable[[float], Awaitable[None]]
P = TypeVar("P", bound=Peer)


class PeerSource(Protocol):
    """Where peers come from."""

    async def run(self, factory: Callable[[], Peer], log: EventLogger) -> None:
        """Have peers at connections that `factory` makes. Cancelling this need not close them."""


class StreamClient:
    """Connects to a peer, and again whenever it is lost or not there yet."""

    def __init__(self, address: Address, *, reconnect_s: float = 1.0, sleep: Sleep = asyncio.sleep) -> None:
        """Tries again after `reconnect_s` seconds; 0 is never."""
        self._address, self._reconnect_s, self._sleep = address, reconnect_s, sleep

    async def run(self, factory: Callable[[], Peer], log: EventLogger) -> None:
        told = False
        while True:
            try:
                peer = await self._connect(factory)
            except OSError as error:
                why, event = error.strerror or str(error), "peer not reached"
            else:
                await peer.lost.wait()
                why, event, told = peer.why, "peer lost", False
            if not told:
                log.warning(event, peer=str(self._address), error=why, reconnect_s=self._reconnect_s)
            told = True
            if not self._reconnect_s:
                return
            await self._sleep(self._reconnect_s)

    async def _connect(self, factory: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        match self._address:
            case UnixAddress(path):
                return (await loop.create_unix_connection(factory, path))[1]
            case TcpAddress(host, port):
                return (await loop.create_connection(factory, host or "localhost", port))[1]


class StreamServer:
    """Waits for peers."""

    def __init__(self, listening: socket.socket) -> None:
        """`listening` is the server's own from now on."""
        self._listening = listening

    async def run(self, factory: Callable[[], Peer], log: EventLogger) -> None:
        await accept(self._listening, factory)


class OnePeer(ABC, Generic[P]):
    """A backend with one peer at a time; a second is turned away. Owner: the event loop."""

    def __init__(self, source: PeerSource, log: EventLogger) -> None:
        self.source, self.log = source, log
        self._peer: P | None = None

    @abstractmethod
    def make_connection(self) -> P:
        """A connection for the next peer, which tells this backend of itself."""

    @abstractmethod
    def link_changed(self, *, up: bool) -> None:
        """A peer is there, or has gone."""

    @abstractmethod
    def link_writable(self) -> None:
        """The peer takes more again."""

    async def run(self) -> None:
        """Live beside the machine until cancelled."""
        try:
            await self.source.run(self.make_connection, self.log)
        finally:
            self.hang_up()

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._peer is not None:
            self._peer.close("the machine ended")

    # Told by the connection.

    def connected(self, peer: P) -> None:
        """Somebody is there."""
        if self._peer is not None:
            peer.close("another peer is connected")
            return
        self._peer = peer
        self.link_changed(up=True)

    def disconnected(self, peer: P) -> None:
        """Somebody has gone."""
        if self._peer is peer:
            self._peer = None
            self.link_changed(up=False)

    def drained(self, peer: P) -> None:
        """Somebody takes more again."""
        if self._peer is peer:
            self.link_writable()
