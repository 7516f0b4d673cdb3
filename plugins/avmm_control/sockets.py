"""Listening sockets, and what keeps one from being had."""

from __future__ import annotations

import asyncio
import socket
import stat
from contextlib import suppress
from errno import EADDRINUSE
from pathlib import Path

from avmm.plugin import ConfigError
from avmm_control.address import TcpAddress

BACKLOG = 128


Place = tuple[socket.AddressFamily, tuple[object, ...]]


async def resolve(address: TcpAddress) -> Place:
    """Where that is; ConfigError when the name service does not know. Its answer may take a while."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(address.host or "0.0.0.0", address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _cannot(address, error) from None
    family, _, _, _, place = found[0]
    return family, place


def listen_tcp(address: TcpAddress, at: Place) -> socket.socket:
    """A socket that listens at `address`, which is `at`; ConfigError when that cannot be."""
    family, place = at
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot(address, error) from None
    return listener


def listen_unix(path: Path) -> socket.socket:
    """A socket that listens at `path`, its owner's alone (0600); ConfigError when that cannot be."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listener.bind(str(path))
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise
            _clear(path, error)
            listener.bind(str(path))
        path.chmod(0o600)  # before it listens: until then nobody can connect
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot(path, error) from None
    except BaseException:
        listener.close()
        raise
    return listener


def _cannot(where: object, error: OSError) -> ConfigError:
    return ConfigError(f"cannot listen at {where}: {error.strerror or error}", key="control")


def _clear(path: Path, error: OSError) -> None:
    """Take away a socket that nobody listens at any more; ConfigError when something else is there."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ConfigError(f"cannot listen at {path}: it exists and is not a socket", key="control") from error
    if answers(path):
        raise ConfigError(f"cannot listen at {path}: somebody listens there already", key="control") from error
    path.unlink(missing_ok=True)


def answers(path: Path) -> bool:
    """True when somebody listens at the Unix socket `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # its queue is full: it is there
        except OSError:
            return False
    return True


def remove(path: Path, inode: int) -> None:
    """Take away the Unix socket at `path`, if it is still the one that was made."""
    with suppress(OSError):
        if path.lstat().st_ino == inode:
            path.unlink()
