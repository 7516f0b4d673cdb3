"""What firmware finds in fw_cfg: the numbers of items and how they are written."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

SIGNATURE: Final = 0x00
_ID, _NB_CPUS, _MAX_CPUS = 0x01, 0x05, 0x0F
_KERNEL_SIZE, _KERNEL_DATA = 0x08, 0x11
_INITRD_SIZE, _INITRD_DATA = 0x0B, 0x12
_COMMAND_LINE_SIZE, _COMMAND_LINE_DATA = 0x14, 0x15
_DIRECTORY, _FIRST_FILE = 0x19, 0x20
_TRADITIONAL_AND_DMA = 0b11
MAX_FILES: Final = 0x4000 - _FIRST_FILE
MAX_NAME: Final = 55
"""Bytes of a file's name; a NUL follows."""
_ENTRY = struct.Struct(">IHxx56s")
"""Size, item number, name."""


def items(vcpus: int, kernel: bytes, initrd: bytes, command_line: str, files: Mapping[str, bytes]) -> dict[int, bytes]:
    """All items by number. Empty `kernel`, `initrd` and `command_line` are those of a machine that was given none."""
    found = {
        SIGNATURE: b"QEMU",
        _ID: _word(_TRADITIONAL_AND_DMA),
        _NB_CPUS: vcpus.to_bytes(2, "little"),
        _MAX_CPUS: vcpus.to_bytes(2, "little"),
        _DIRECTORY: len(files).to_bytes(4, "big"),
    }
    line = command_line.encode() + b"\0" if command_line else b""
    for size, data, content in (
        (_KERNEL_SIZE, _KERNEL_DATA, kernel),
        (_INITRD_SIZE, _INITRD_DATA, initrd),
        (_COMMAND_LINE_SIZE, _COMMAND_LINE_DATA, line),
    ):
        found[size], found[data] = _word(len(content)), content
    for number, (name, content) in enumerate(sorted(files.items()), _FIRST_FILE):
        found[number] = content
        found[_DIRECTORY] += _ENTRY.pack(len(content), number, name.encode())
    return found


def _word(value: int) -> bytes:
    return value.to_bytes(4, "little")
