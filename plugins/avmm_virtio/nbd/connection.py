"""One connection to an NBD server, in the transmission phase (doc/proto.md). Owner: the event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct

from avmm_virtio.nbd.export import Export
from avmm_virtio.nbd.order import Order
from avmm_virtio.nbd.protocol import (
    ERRNO,
    REPLY_DONE,
    REQUEST,
    REQUEST_MAGIC,
    SIMPLE_REPLY,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY,
    STRUCTURED_REPLY_MAGIC,
    Chunk,
    Command,
    NbdError,
)

_MAGIC = struct.Struct(">I")
_MAX_CHUNK = 64 << 10
"""Bytes in a chunk that is no data: an error with its text."""


class NbdConnection:
    """Sends orders and takes the answers to them, in whatever order they come."""

    def __init__(self, connection: socket.socket, export: Export) -> None:
        self._socket, self._export = connection, export
        self._orders: dict[int, Order] = {}
        self._cookie = 0
        self.answers = 0
        """How many answers, or parts of one, have come."""
        self._writer: asyncio.StreamWriter | None = None

    @property
    def waiting(self) -> int:
        """How many orders are unanswered."""
        return len(self._orders)

    async def run(self, ready: asyncio.Barrier) -> None:
        """Until it is lost: NbdError says why. Orders that were not answered are done by then, with ESHUTDOWN.

        `ready` is passed as soon as orders can be sent.
        """
        unix = self._socket.family == socket.AF_UNIX
        start = asyncio.open_unix_connection if unix else asyncio.open_connection
        self._socket.settimeout(0)
        try:
            reader, self._writer = await start(sock=self._socket)
            await ready.wait()
            while True:
                await self._answer(reader)
        except asyncio.IncompleteReadError:
            raise NbdError("the server hung up") from None
        except OSError as error:
            raise NbdError(error.strerror or str(error)) from None
        finally:
            self._close()

    def _close(self) -> None:
        orders, self._orders = self._orders, {}
        if self._writer is None:
            self._socket.close()
        elif orders:
            self._writer.transport.abort()
        else:
            self._writer.write(REQUEST.pack(REQUEST_MAGIC, 0, Command.DISCONNECT, 0, 0, 0))
            self._writer.close()
        self._writer = None
        for order in orders.values():
            order.error = errno.ESHUTDOWN
            order.done(order)

    async def send(self, order: Order) -> None:
        """Send `order`; waits while the server takes nothing. One that cannot be sent is done with ESHUTDOWN."""
        writer = self._writer
        if writer is None:
            order.error = errno.ESHUTDOWN
            order.done(order)
            return
        self._cookie += 1
        self._orders[self._cookie] = order
        header = REQUEST.pack(REQUEST_MAGIC, order.flags, order.command, self._cookie, order.offset, order.size)
        writer.write(header + order.data)
        order.data = b""
        try:
            await writer.drain()
        except OSError:
            pass  # lost: run() says so, and the order is done there

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        (magic,) = _MAGIC.unpack(await reader.readexactly(_MAGIC.size))
        match magic:
            case _ if magic == SIMPLE_REPLY_MAGIC:
                await self._simple(reader)
            case _ if magic == STRUCTURED_REPLY_MAGIC and self._export.structured:
                await self._structured(reader)
            case _:
                raise NbdError(f"an answer begins with {magic:#x}")

    async def _simple(self, reader: asyncio.StreamReader) -> None:
        error, cookie = SIMPLE_REPLY.unpack(await reader.readexactly(SIMPLE_REPLY.size))
        order = self._order(cookie)
        order.error = _errno(error)
        if order.command is Command.READ and not error:
            order.store(0, await reader.readexactly(order.size))
        self._done(cookie)

    async def _structured(self, reader: asyncio.StreamReader) -> None:
        flags, kind, cookie, size = STRUCTURED_REPLY.unpack(await reader.readexactly(STRUCTURED_REPLY.size))
        order = self._order(cookie)
        match kind:
            case Chunk.NONE if size == 0:
                pass
            case Chunk.OFFSET_DATA if order.command is Command.READ and 8 < size <= 8 + order.size:
                (offset,) = struct.unpack(">Q", await reader.readexactly(8))
                at = self._at(order, offset, size - 8)
                order.store(at, await reader.readexactly(size - 8))
            case Chunk.OFFSET_HOLE if order.command is Command.READ and size == 12:
                offset, hole = struct.unpack(">QI", await reader.readexactly(12))
                order.store(self._at(order, offset, hole), bytes(hole))
            case _ if kind & Chunk.ERROR_BIT and 6 <= size <= _MAX_CHUNK:
                (error,) = struct.unpack_from(">I", await reader.readexactly(size))
                order.error = order.error or _errno(error) or errno.EIO
            case _:
                raise NbdError(f"a chunk of kind {kind} and {size} bytes for {order.command.name}")
        if flags & REPLY_DONE:
            if order.command is Command.READ and order.came != order.size:
                order.error = order.error or errno.EIO  # some of it never came
            self._done(cookie)

    def _at(self, order: Order, offset: int, size: int) -> int:
        """Where a part of a read belongs, from its beginning on."""
        at = offset - order.offset
        if at < 0 or at + size > order.size or order.came + size > order.size:
            raise NbdError(f"{size} bytes from {offset} in answer to {order.size} from {order.offset}")
        order.came += size
        return at

    def _order(self, cookie: int) -> Order:
        order = self._orders.get(cookie)
        if order is None:
            raise NbdError(f"an answer to nothing that was asked: cookie {cookie:#x}")
        self.answers += 1
        return order

    def _done(self, cookie: int) -> None:
        order = self._orders.pop(cookie)
        order.done(order)


def _errno(error: int) -> int:
    return ERRNO.get(error, errno.EIO) if error else 0
