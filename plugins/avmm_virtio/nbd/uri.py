"""Where a server is and which of its exports is meant (the NBD project's doc/uri.md)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from avmm_virtio.sockets import Address, TcpAddress, UnixAddress, check_path

_PORT = 10809


@dataclass(frozen=True, slots=True)
class NbdUri:
    """A server's address, and the name of an export, which may be empty."""

    address: Address
    export: str

    def __str__(self) -> str:
        return f"{self.address} export {self.export!r}"


def parse_uri(text: str) -> NbdUri:
    """`nbd://HOST[:PORT][/EXPORT]` or `nbd+unix:///[EXPORT]?socket=PATH`; ValueError, in one line, for anything else."""
    wrong = f"{text!r} is not nbd://HOST[:PORT][/EXPORT] or nbd+unix:///[EXPORT]?socket=PATH"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        query = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError:
        raise ValueError(wrong) from None
    export = unquote(parts.path.removeprefix("/"))
    sockets = query.pop("socket", [])
    if query or parts.fragment or parts.username is not None:
        raise ValueError(wrong)
    match parts.scheme, sockets:
        case "nbd", [] if host:
            return NbdUri(TcpAddress(host, _PORT if port is None else port), export)
        case "nbd+unix", [path] if not parts.netloc:
            check_path(path)
            return NbdUri(UnixAddress(path), export)
        case (("nbds" | "nbds+unix"), _):
            raise ValueError(f"{text!r}: TLS is not spoken here; a tunnel or nbdkit with its nbd plugin can do it")
        case _:
            raise ValueError(wrong)
