"""Where a control server listens: a Unix socket, by default in a directory of the user's own, or a TCP address."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from avmm.plugin import ConfigError, parse_endpoint

AUTO = "auto"
"""The setting for a socket called NAME-PID.sock in `runtime_directory()`."""
MAX_PATH = 107
"""Bytes of a Unix socket's path at most (sun_path of unix(7), with its NUL)."""
_TOKEN_FILE = ",token-file="


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP address; an empty host is every IPv4 interface, port 0 any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Address = UnixAddress | TcpAddress


def split_setting(setting: str) -> tuple[str, Path | None]:
    """The address and the file of the token in a setting: `ADDRESS` or `ADDRESS,token-file=FILE`."""
    address, comma, file = setting.partition(_TOKEN_FILE)
    if comma and not file:
        raise ConfigError("token-file= names no file", key="control")
    return address, Path(file) if comma else None


def parse_address(text: str, name: str) -> Address:
    """`auto`, a path, or `HOST:PORT`; `name` is the VM's, for `auto`. ConfigError else."""
    if text == AUTO:
        return UnixAddress(runtime_directory() / f"{name}-{os.getpid()}.sock")
    if not text:
        raise ConfigError(f"names no address: a path, HOST:PORT, or {AUTO}", key="control")
    if "/" in text or ":" not in text:
        if len(os.fsencode(text)) > MAX_PATH:
            raise ConfigError(f"{text}: a Unix socket's path has at most {MAX_PATH} bytes", key="control")
        return UnixAddress(Path(text))
    try:
        host, port = parse_endpoint(text)
    except ValueError as error:
        raise ConfigError(f"{error}; a path has a / in it", key="control") from None
    return TcpAddress(host, port)


def runtime_directory() -> Path:
    """The directory of the user's control sockets, made if need be; ConfigError when it is open to others.

    `$XDG_RUNTIME_DIR/avmm`, or else `/run/user/UID/avmm`, or else `avmm-UID` where temporary files are.
    """
    directory = _runtime_directory()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        private = _is_private(directory)
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}", key="control") from None
    if not private:
        raise ConfigError(f"{directory} must be a directory of yours that is closed to others (mode 0700)", key="control")
    return directory


def runtime_directory_if_there() -> Path | None:
    """The directory of the user's control sockets; None when there is none, or it is open to others."""
    directory = _runtime_directory()
    try:
        return directory if _is_private(directory) else None
    except OSError:
        return None


def _is_private(directory: Path) -> bool:
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _runtime_directory() -> Path:
    """The directory, which need not be there."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given:
        return Path(given) / "avmm"
    usual = Path(f"/run/user/{os.getuid()}")
    if usual.is_dir() and os.access(usual, os.W_OK):
        return usual / "avmm"
    return Path(tempfile.gettempdir()) / f"avmm-{os.getuid()}"
