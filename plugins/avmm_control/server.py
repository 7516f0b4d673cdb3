"""The server of one address, on the event loop of the VMs it serves."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from avmm.plugin import ConfigError, SteeredVm, get_logger
from avmm_control import sockets
from avmm_control.address import Address, TcpAddress, UnixAddress
from avmm_control.app import FurtherRoutes, create_app
from avmm_control.guard import Guard
from avmm_control.hub import Hub
from avmm_control.limits import Limits
from avmm_control.protocol import limited_protocol

GRACE_S = 1.0
"""How long answers that are under way may take at the end, in seconds."""

log = get_logger()


class ControlServer:
    """Serves the API, and what `further` adds to it, for the VMs in `hub`."""

    def __init__(
        self,
        address: Address,
        *,
        token: str | None = None,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        further: FurtherRoutes | None = None,
        open_paths: frozenset[str] = frozenset(),
        websockets: type[asyncio.Protocol] | None = None,
    ) -> None:
        """ConfigError for a TCP address without a token. `open_paths` are there for those too who do not know it.

        `websockets`: the protocol of WebSockets, when routes of `further` take them.
        """
        if isinstance(address, TcpAddress) and token is None:
            raise ConfigError(
                f"{address} is reached over the network and needs a token: --control-token-file FILE", key="control"
            )
        self.address, self.hub, self.token = address, Hub(), token
        host = address.host or "localhost" if isinstance(address, TcpAddress) else None
        guard = Guard(create_app(self.hub, further), limits, token=token, host=host, is_open=open_paths.__contains__)
        config = uvicorn.Config(
            guard,
            http=limited_protocol(limits),
            ws="none" if websockets is None else websockets,
            ws_max_size=limits.message_bytes,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=limits.header_bytes,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._server.servers = []
        self._listener: socket.socket | None = None
        self._inode = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop it serves on, from `open` on."""

    def listen(self, at: sockets.Place | None) -> None:
        """Take the address (a TCP one is `at`) for the running event loop; ConfigError when it cannot be had."""
        self.loop = asyncio.get_running_loop()
        match self.address:
            case UnixAddress(path):
                self._listener = sockets.listen_unix(path)
                self._inode = path.lstat().st_ino
            case TcpAddress(host):
                assert at is not None
                self._listener = sockets.listen_tcp(self.address, at)
                self.address = TcpAddress(host, self._listener.getsockname()[1])

    async def open(self) -> None:
        """Answer those who connect."""
        assert self._listener is not None
        await self._server.startup([self._listener])

    async def close(self) -> None:
        """Listen no more, let what is under way come to its end for a moment, and cut off the rest."""
        if isinstance(self.address, UnixAddress):
            sockets.remove(self.address.path, self._inode)
        for server in self._server.servers:
            server.close()
        state = self._server.server_state
        for connection in tuple(state.connections):
            connection.shutdown()
        if state.tasks:
            _, late = await asyncio.wait(tuple(state.tasks), timeout=GRACE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        for connection in tuple(state.connections):
            connection.transport.abort()
        if self._listener is not None:
            self._listener.close()


_servers: dict[str, ControlServer] = {}
"""The servers of this process by address: VMs that name the same one share it. Each belongs to its event loop's thread."""


def present(address: Address) -> ControlServer | None:
    """The server at `address`, or None."""
    return _servers.get(str(address))


async def join(vm: SteeredVm, server: ControlServer) -> ControlServer:
    """Have `vm` served by `server`, or by the one that is at its address already."""
    key = str(server.address)
    at = await sockets.resolve(server.address) if isinstance(server.address, TcpAddress) else None
    there = present(server.address)
    if there is not None and there.loop is not asyncio.get_running_loop():
        raise ConfigError(f"cannot listen at {key}: VMs of another event loop are served there", key="control")
    if there is not None:
        if there.token != server.token:
            raise ConfigError(f"cannot listen at {key}: VMs are served there to those who know another token", key="control")
        there.hub.add(vm)
        return there
    server.listen(at)
    _servers[key] = server  # no await up to here: whoever comes next finds it
    server.hub.add(vm)
    try:
        await server.open()
    except BaseException:
        await leave(vm, server)  # nobody else will, of what was never seen to start
        raise
    return server


async def leave(vm: SteeredVm, server: ControlServer) -> None:
    """Have `vm` served no more; the last to leave closes the server."""
    server.hub.remove(vm)
    if not len(server.hub):
        for key, there in tuple(_servers.items()):
            if there is server:
                del _servers[key]
        await server.close()
