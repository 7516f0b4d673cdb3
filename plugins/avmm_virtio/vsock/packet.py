"""Packets of the socket device (virtio 1.2, 5.10.6): a header, and data behind it."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

HOST_CID: Final = 2
STREAM: Final = 1
"""VIRTIO_VSOCK_TYPE_STREAM."""
HEADER: Final = 44
"""Bytes of a header."""
_HEADER = struct.Struct("<QQIIIHHIII")


class Op(IntEnum):
    """What a packet is for."""

    INVALID = 0
    REQUEST = 1
    RESPONSE = 2
    RST = 3
    SHUTDOWN = 4
    RW = 5
    CREDIT_UPDATE = 6
    CREDIT_REQUEST = 7


class Shutdown(IntFlag):
    """Flags of a SHUTDOWN: what the sender of the packet will not do any more."""

    RECEIVE = 1
    SEND = 2


BOTH: Final = Shutdown.RECEIVE | Shutdown.SEND


class Header(NamedTuple):
    """struct virtio_vsock_hdr."""

    src_cid: int
    dst_cid: int
    src_port: int
    dst_port: int
    size: int
    """Bytes of data: the structure's `len`."""
    type: int
    op: int
    flags: int = 0
    buf_alloc: int = 0
    fwd_cnt: int = 0

    def pack(self) -> bytes:
        """The header as it stands in a packet."""
        return _HEADER.pack(*self)

    def reset(self) -> Header:
        """The RST that answers it."""
        return Header(self.dst_cid, self.src_cid, self.dst_port, self.src_port, 0, self.type, Op.RST)


assert _HEADER.size == HEADER


def parse(data: bytes) -> Header | None:
    """A packet's header; None when `data` is too short for one."""
    return Header(*_HEADER.unpack_from(data)) if len(data) >= HEADER else None
