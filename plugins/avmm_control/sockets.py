"""Listening sockets, and what keeps one from being had."""

from __future__ import annotations

import socket
import stat
from contextlib import suppress
from errno import EADDRINUSE
from pathlib import Path

from avmm.plugin import ConfigError
from avmm_control.address import Address, TcpAddress, UnixAddress

BACKLOG = 128


def listen(address: Address) -> socket.socket:
    """A socket that listens at `address`; ConfigError, in one line, when that cannot be. A Unix socket is its owner's (0600)."""
    return _listen_unix(address.path) if isinstance(address, UnixAddress) else _listen_tcp(address)


def _listen_tcp(address: TcpAddress) -> socket.socket:
    try:
        found = socket.getaddrinfo(address.host or "0.0.0.0", address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(f"cannot listen at {address}: {error.strerror or error}", key="control") from None
    return listener


def _listen_unix(path: Path) -> socket.socket:
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
        raise ConfigError(f"cannot listen at {path}: {error.strerror or error}", key="control") from None
    except BaseException:
        listener.close()
        raise
    return listener


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
