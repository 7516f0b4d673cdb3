"""What a server is asked to do: the commands that a request comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from avmm_virtio.block.blockdev import BlockRequest, Operation
from avmm_virtio.nbd.export import Export
from avmm_virtio.nbd.pieces import pieces
from avmm_virtio.nbd.protocol import Command, CommandFlag, Transmission

_PIECE = 1 << 20
"""The most that one command reads or writes, in bytes."""
_TRIM_PIECE = 1 << 30
"""The most that one command discards or zeroes, in bytes."""


@dataclass(slots=True, eq=False)
class Order:
    """One command to the server. What it reads goes to `store`, which is told where from its own beginning on."""

    command: Command
    flags: int = 0
    """Of CommandFlag."""
    offset: int = 0
    size: int = 0
    data: bytes = b""
    """WRITE: what is written."""
    store: Callable[[int, bytes], None] = lambda at, data: None
    done: Callable[[Order], None] = lambda order: None
    error: int = 0
    """0, or an errno."""
    came: int = field(default=0)
    """READ: how many bytes have come."""


def orders_of(
    request: BlockRequest,
    export: Export,
    *,
    may_unmap: bool,
    store: Callable[[int, bytes], None],
    done: Callable[[Order], None],
) -> Iterator[Order]:
    """The commands that `request` comes to. `store` takes what they read, with its place in the request."""
    fua = CommandFlag.FUA if request.durable and export.flags & Transmission.SEND_FUA else 0

    def order(command: Command, flags: int, offset: int, size: int) -> Order:
        return Order(command, flags, offset, size, store=lambda at, data: store(offset - request.offset + at, data), done=done)

    match request.operation:
        case Operation.READ | Operation.WRITE:
            command = Command.READ if request.operation is Operation.READ else Command.WRITE
            flags = 0 if command is Command.READ else fua
            for at, size in pieces(request.offset, request.size, min(_PIECE, export.maximum_payload)):
                yield order(command, flags, at, size)
        case Operation.FLUSH:
            yield order(Command.FLUSH, 0, 0, 0)
        case Operation.DISCARD | Operation.WRITE_ZEROES:
            trim = request.operation is Operation.DISCARD
            for start, length, unmap in request.ranges:
                keep = 0 if trim or (unmap and may_unmap) else CommandFlag.NO_HOLE
                for at, size in pieces(start, length, _TRIM_PIECE):
                    yield order(Command.TRIM if trim else Command.WRITE_ZEROES, fua | keep, at, size)
