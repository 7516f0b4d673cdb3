"""The host's sockets: a Unix socket where programs ask for ports of the guest's, and one for each port that the guest asks for.

A program connects to PATH and writes `CONNECT PORT` and a newline; `OK PORT` and a newline come back when the guest has accepted,
with the port it sees the host at. What connects to port N of the host in the guest comes out at the Unix socket PATH_N. The same
convention as Firecracker's and Cloud Hypervisor's.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING, Final

from avmm.plugin import TimerHandle
from avmm_virtio.peer import Peer, accept
from avmm_virtio.vsock.connection import Connection

if TYPE_CHECKING:
    from avmm_virtio.vsock.device import VirtioVsock

_LINE: Final = 32
"""Bytes that `CONNECT PORT` may take."""


class HostStream(Peer, asyncio.Protocol):
    """One socket of the host's: of a connection, or of somebody who has yet to say which one."""

    def __init__(self, device: VirtioVsock, connection: Connection | None = None) -> None:
        super().__init__()
        self._device, self._connection = device, connection
        self._line = b""
        self.timer: TimerHandle | None = None

    def made(self) -> None:
        if self._connection is not None:
            self._connection.connected(self)
        else:
            self._device.visitor(self)

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.received(data)
            return
        line, newline, rest = (self._line + data).partition(b"\n")
        self._line = line[: _LINE + 1]
        if len(line) > _LINE or (newline and (port := _port(line)) is None):
            self.close("not CONNECT and a port")
        elif newline:
            assert port is not None
            self._connection = self._device.connect_guest(self, port)
            if rest and self._connection is not None:
                self._connection.received(rest)

    def greeted(self, port: int) -> None:
        """The guest has accepted."""
        self.write(b"OK %d\n" % port)

    def eof_received(self) -> bool:
        if self._connection is None:
            return False
        self._connection.ended()
        return True  # it may still want to hear

    def drained(self) -> None:
        if self._connection is not None:
            self._connection.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._device.visitor_gone(self)
        if self._connection is not None:
            self._connection.gone(exc)

    @property
    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write_eof(self) -> None:
        """No more comes, behind what waits."""
        if self.open:
            assert self._transport is not None
            self._transport.write_eof()

    def hang_up(self) -> None:
        """Close it when all that waits is written."""
        if self._transport is not None:
            self._transport.close()


def _port(line: bytes) -> int | None:
    """The port that a line asks for."""
    match = re.fullmatch(rb"CONNECT ([0-9]{1,10})\r?", line)
    return port if match is not None and (port := int(match[1])) < 1 << 32 else None


class UnixHost:
    """The host's side of one device. Owner: the event loop."""

    def __init__(self, path: str, listening: socket.socket) -> None:
        """`listening` at `path` is its own from now on."""
        self._path, self._listening = path, listening
        self._connecting: set[asyncio.Task[None]] = set()

    async def run(self, device: VirtioVsock) -> None:
        """Take visitors until cancelled."""
        try:
            await accept(self._listening, lambda: HostStream(device))
        finally:
            for task in self._connecting:
                task.cancel()

    def connect(self, device: VirtioVsock, connection: Connection) -> None:
        """Connect to the socket that the guest asks for; `connection` hears how that went."""
        task = asyncio.get_running_loop().create_task(self._connect(device, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, device: VirtioVsock, connection: Connection) -> None:
        path = f"{self._path}_{connection.host_port}"
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: HostStream(device, connection), path)
        except OSError:
            connection.refused()
