"""Stream sockets by name: `unix:PATH`, `tcp:HOST:PORT`."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

from avmm.plugin import Record, parse_endpoint

_PATH_BYTES = 107
"""sun_path without its NUL (unix(7))."""


class UnixAddress(Record):
    """A Unix stream socket's path."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class TcpAddress(Record):
    """A TCP port. An empty host is every interface to a server, and this machine to a client."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp:{self.host}:{self.port}"


Address = UnixAddress | TcpAddress


def parse_address(text: str) -> Address:
    """The address that `unix:PATH` or `tcp:HOST:PORT` names; ValueError, in one line, for anything else."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "unix":
        check_path(rest)
        return UnixAddress(rest)
    if colon and kind == "tcp":
        return TcpAddress(*parse_endpoint(rest))
    raise ValueError(f"{text!r} is not unix:PATH or tcp:HOST:PORT")


def check_path(path: str) -> None:
    """ValueError unless a Unix socket can have this path."""
    if not path or "\0" in path or len(os.fsencode(path)) > _PATH_BYTES:
        raise ValueError(f"{path!r} is not a socket's path: 1 to {_PATH_BYTES} bytes")


def listen(address: Address) -> socket.socket:
    """A socket that listens there; the path of one whose owner has died is taken over. OSError when it cannot be."""
    if isinstance(address, UnixAddress):
        _unlink_stale(address.path)
        server = socket.socket(socket.AF_UNIX)
        try:
            server.bind(address.path)
            server.listen()
        except OSError:
            server.close()
            raise
        return server
    if address.host:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address.host, address.port), family=family)
    dual = socket.has_dualstack_ipv6()
    return socket.create_server(("", address.port), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual)


def unlink(path: str) -> None:
    """Remove a socket's path, if it is still there."""
    with suppress(OSError):
        os.unlink(path)


def _unlink_stale(path: str) -> None:
    """Remove the socket that a server left behind; one that is in use, or a file of another kind, stays."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)
