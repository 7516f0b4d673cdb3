"""What a flash bank says of itself: identifiers and the CFI query table (JEDEC JESD68.01), for two 16-bit chips side by side."""

from __future__ import annotations

from typing import Final

BANK_WIDTH: Final = 4
"""Bytes: two chips of 16 bits, the even one in the low half. Both are given every command, and answer alike."""
CHIPS: Final = 2
SECTOR_SIZE: Final = 256 << 10
"""Bytes of the bank that are erased at once: 128 KiB of each chip."""
BUFFER_WORDS: Final = 1024
"""Words of the bank that one buffered program takes."""
MANUFACTURER: Final = 0x89
"""Intel."""
DEVICE_CODE: Final = 0x18

_INTEL_EXTENDED = 0x0001
_PRIMARY_TABLE = 0x31
_X16 = 0x0001
_BUFFER_BYTES_LOG2 = 11
"""Of each chip."""


def query_table(size: int, sector_size: int = SECTOR_SIZE) -> bytes:
    """The query answers of each chip of a bank of `size` bytes, by word address; 0 behind the end.

    Times are as small as the table can say: nothing takes time here.
    """
    table = bytearray(0x40)
    table[0x10:0x13] = b"QRY"
    table[0x13:0x15] = _INTEL_EXTENDED.to_bytes(2, "little")
    table[0x15:0x17] = _PRIMARY_TABLE.to_bytes(2, "little")
    table[0x1B], table[0x1C] = 0x45, 0x55  # supply, in volts and tenths: 4.5 to 5.5
    table[0x1F] = table[0x20] = 7  # word and buffer program: 2**7 us typically,
    table[0x21] = 10  # erase of a block: 2**10 ms,
    table[0x23] = table[0x24] = table[0x25] = 4  # and at most 2**4 times that
    table[0x27] = (size // CHIPS).bit_length() - 1
    table[0x28:0x2A] = _X16.to_bytes(2, "little")
    table[0x2A] = _BUFFER_BYTES_LOG2
    table[0x2C] = 1  # one region of blocks, all of one size
    table[0x2D:0x2F] = (size // sector_size - 1).to_bytes(2, "little")
    table[0x2F:0x31] = (sector_size // CHIPS >> 8).to_bytes(2, "little")
    table[0x31:0x36] = b"PRI10"
    return bytes(table)
