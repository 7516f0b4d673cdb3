"""The way from a socket to an export (doc/proto.md, "Fixed newstyle negotiation"): blocking, each answer in limited time."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack
from typing import Final

from avmm_virtio.nbd.export import Export
from avmm_virtio.nbd.protocol import (
    ERROR_BIT,
    EXPORT,
    FIXED_NEWSTYLE,
    GREETING,
    INFO_BLOCK_SIZE,
    INFO_EXPORT,
    MAX_TEXT,
    NBD_MAGIC,
    NO_ZEROES,
    OLDSTYLE_MAGIC,
    OPTION,
    OPTION_MAGIC,
    OPTION_REPLY,
    OPTION_REPLY_MAGIC,
    ZEROES_BYTES,
    NbdError,
    Option,
    OptionReply,
)
from avmm_virtio.nbd.uri import NbdUri
from avmm_virtio.sockets import TcpAddress, UnixAddress

TIMEOUT_S: Final = 10.0
_MAX_ANSWERS: Final = 64


def connect(uri: NbdUri, timeout_s: float = TIMEOUT_S) -> tuple[socket.socket, Export]:
    """A connection to the export, ready for requests, and what is known of it. NbdError when it cannot be had."""
    connection = _socket(uri, timeout_s)
    try:
        return connection, _Negotiation(connection, uri).export()
    except OSError as error:
        connection.close()
        raise NbdError(f"{uri}: broke off in the handshake: {error.strerror or error}") from None
    except NbdError:
        connection.close()
        raise


def _socket(uri: NbdUri, timeout_s: float) -> socket.socket:
    try:
        match uri.address:
            case UnixAddress(path):
                with ExitStack() as failed:
                    connection = failed.enter_context(socket.socket(socket.AF_UNIX))
                    connection.settimeout(timeout_s)
                    connection.connect(path)
                    failed.pop_all()
                    return connection
            case TcpAddress(host, port):
                connection = socket.create_connection((host, port), timeout_s)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
    except OSError as error:
        raise NbdError(f"{uri.address}: cannot be reached: {error.strerror or error}") from None


class _Negotiation:
    """One handshake."""

    def __init__(self, connection: socket.socket, uri: NbdUri) -> None:
        self._connection, self._uri = connection, uri

    def export(self) -> Export:
        """Go through it."""
        magic, options, flags = GREETING.unpack(self._receive(GREETING.size))
        if magic != NBD_MAGIC:
            raise NbdError(f"{self._uri.address}: is no NBD server")
        if options == OLDSTYLE_MAGIC or options != OPTION_MAGIC or not flags & FIXED_NEWSTYLE:
            raise NbdError(f"{self._uri.address}: does not speak the fixed newstyle handshake")
        no_zeroes = flags & NO_ZEROES
        self._connection.sendall(struct.pack(">I", FIXED_NEWSTYLE | no_zeroes))
        export = Export()
        self._ask(Option.STRUCTURED_REPLY, b"")
        kind, _ = self._answer(Option.STRUCTURED_REPLY)
        export.structured = kind == OptionReply.ACK
        if not self._go(export):
            self._by_name(export, zeroes=not no_zeroes)
        if export.size < 0:
            raise NbdError(f"{self._uri}: the server does not say how large it is")
        return export

    def _go(self, export: Export) -> bool:
        """NBD_OPT_GO; False when the server does not know it."""
        name = self._uri.export.encode()
        self._ask(Option.GO, struct.pack(">I", len(name)) + name + struct.pack(">HH", 1, INFO_BLOCK_SIZE))
        for _ in range(_MAX_ANSWERS):
            kind, data = self._answer(Option.GO)
            match kind:
                case OptionReply.ACK:
                    return True
                case OptionReply.INFO:
                    _told(export, data)
                case OptionReply.UNSUPPORTED:
                    return False
                case _:
                    raise NbdError(f"{self._uri}: {_refusal(kind, data)}")
        raise NbdError(f"{self._uri}: the server does not come to an end")

    def _by_name(self, export: Export, *, zeroes: bool) -> None:
        """NBD_OPT_EXPORT_NAME, to which a server that refuses says nothing and hangs up."""
        self._ask(Option.EXPORT_NAME, self._uri.export.encode())
        try:
            answer = self._receive(EXPORT.size)
        except NbdError:
            raise NbdError(f"{self._uri}: refused: there is no such export, perhaps") from None
        size, flags = EXPORT.unpack(answer)
        export.size, export.flags = size, flags
        if zeroes:
            self._receive(ZEROES_BYTES)

    def _ask(self, option: Option, data: bytes) -> None:
        self._connection.sendall(OPTION.pack(OPTION_MAGIC, option, len(data)) + data)

    def _answer(self, option: Option) -> tuple[int, bytes]:
        magic, answered, kind, size = OPTION_REPLY.unpack(self._receive(OPTION_REPLY.size))
        if magic != OPTION_REPLY_MAGIC or answered != option or size > MAX_TEXT + 64:
            raise NbdError(f"{self._uri.address}: answers what was not asked")
        return kind, self._receive(size)

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._connection.recv(size - len(data))
            if not part:
                raise NbdError(f"{self._uri}: the server hung up in the handshake")
            data += part
        return bytes(data)


def _told(export: Export, data: bytes) -> None:
    """NBD_REP_INFO; what is not known is passed over."""
    (kind,) = struct.unpack_from(">H", data) if len(data) >= 2 else (None,)
    if kind == INFO_EXPORT and len(data) == 2 + EXPORT.size:
        size, flags = EXPORT.unpack_from(data, 2)
        export.size, export.flags = size, flags
    elif kind == INFO_BLOCK_SIZE and len(data) == 14:
        export.minimum_block, _, export.maximum_payload = struct.unpack_from(">III", data, 2)


def _refusal(kind: int, data: bytes) -> str:
    text = data.decode(errors="replace").strip()
    match kind:
        case OptionReply.UNKNOWN:
            what = "there is no such export"
        case OptionReply.TLS_REQUIRED:
            what = "the server wants TLS, which is not spoken here"
        case OptionReply.POLICY:
            what = "the server does not allow it"
        case _:
            what = f"refused with error {kind & ~ERROR_BIT}" if kind & ERROR_BIT else f"an answer of kind {kind}"
    return f"{what} ({' '.join(text.split())})" if text else what
