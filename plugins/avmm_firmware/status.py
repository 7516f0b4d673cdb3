"""The status register of an Intel flash chip."""

from __future__ import annotations

from enum import IntFlag


class Status(IntFlag):
    """Its bits (28F640J3 datasheet, table "Status Register Definitions")."""

    PROTECTED = 0x02
    PROGRAM_ERROR = 0x10
    ERASE_ERROR = 0x20
    SEQUENCE_ERROR = PROGRAM_ERROR | ERASE_ERROR
    READY = 0x80
