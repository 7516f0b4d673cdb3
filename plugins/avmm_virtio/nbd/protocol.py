"""The numbers of the NBD protocol (doc/proto.md), and the layout of what goes over the wire. Everything is big-endian."""

from __future__ import annotations

import errno
import struct
from enum import IntEnum, IntFlag
from typing import Final

NBD_MAGIC: Final = 0x4E42_444D_4147_4943
OPTION_MAGIC: Final = 0x4948_4156_454F_5054
OPTION_REPLY_MAGIC: Final = 0x3_E889_0455_65A9
OLDSTYLE_MAGIC: Final = 0x4_2028_1861_253
REQUEST_MAGIC: Final = 0x2560_9513
SIMPLE_REPLY_MAGIC: Final = 0x6744_6698
STRUCTURED_REPLY_MAGIC: Final = 0x668E_33EF

GREETING: Final = struct.Struct(">QQH")
"""NBDMAGIC, IHAVEOPT, handshake flags."""
OPTION: Final = struct.Struct(">QII")
"""IHAVEOPT, option, bytes of data."""
OPTION_REPLY: Final = struct.Struct(">QIII")
"""Magic, option, reply type, bytes of data."""
EXPORT: Final = struct.Struct(">QH")
"""Size in bytes, transmission flags."""
REQUEST: Final = struct.Struct(">IHHQQI")
"""Magic, command flags, command, cookie, offset, size."""
SIMPLE_REPLY: Final = struct.Struct(">IQ")
"""Behind the magic: error, cookie."""
STRUCTURED_REPLY: Final = struct.Struct(">HHQI")
"""Behind the magic: flags, chunk type, cookie, bytes of data."""

FIXED_NEWSTYLE: Final = 1
NO_ZEROES: Final = 2
ZEROES_BYTES: Final = 124
MAX_TEXT: Final = 4096
"""The longest text of the protocol, in bytes; a server that sends more in an answer is not listened to."""
ERROR_BIT: Final = 1 << 31
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
REPLY_DONE: Final = 1


class Option(IntEnum):
    """What a client asks for in the handshake."""

    EXPORT_NAME = 1
    ABORT = 2
    GO = 7
    STRUCTURED_REPLY = 8


class OptionReply(IntEnum):
    """What a server answers; errors have ERROR_BIT set."""

    ACK = 1
    INFO = 3
    UNSUPPORTED = ERROR_BIT | 1
    POLICY = ERROR_BIT | 2
    TLS_REQUIRED = ERROR_BIT | 5
    UNKNOWN = ERROR_BIT | 6


class Transmission(IntFlag):
    """What an export can do."""

    HAS_FLAGS = 1 << 0
    READ_ONLY = 1 << 1
    SEND_FLUSH = 1 << 2
    SEND_FUA = 1 << 3
    SEND_TRIM = 1 << 5
    SEND_WRITE_ZEROES = 1 << 6
    CAN_MULTI_CONN = 1 << 8


class Command(IntEnum):
    """Requests of the transmission phase."""

    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6


class CommandFlag(IntFlag):
    """Modifies a request."""

    FUA = 1
    NO_HOLE = 2


class Chunk(IntEnum):
    """Types of structured replies; errors have the highest bit set."""

    NONE = 0
    OFFSET_DATA = 1
    OFFSET_HOLE = 2
    ERROR_BIT = 1 << 15


ERRNO: Final = {1: errno.EPERM, 12: errno.ENOMEM, 22: errno.EINVAL, 28: errno.ENOSPC, 95: errno.ENOTSUP}
"""Errors of the protocol's that say more than EIO."""


class NbdError(Exception):
    """The server is not there, refuses, or broke a rule; the message says what, in one line."""
