"""QEMU's firmware configuration device (QEMU, docs/specs/fw_cfg): items by number, read a byte after another or by DMA."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from enum import IntFlag
from typing import Final

from avmm_firmware.fw_cfg_items import SIGNATURE

DMA_SIGNATURE: Final = b"QEMU CFG"
MOST_ZEROS: Final = 1 << 20
"""A transfer that wants more bytes than this from behind an item's end is refused: writing them would take its time."""
_REQUEST = struct.Struct(">IIQ")
"""FWCfgDmaAccess: control, length, address."""
_RESULT = struct.Struct(">I")


class DmaControl(IntFlag):
    """The low half of a transfer's control word; the high half is the item to select."""

    ERROR = 1 << 0
    READ = 1 << 1
    SKIP = 1 << 2
    SELECT = 1 << 3
    WRITE = 1 << 4


class FwCfg:
    """The model alone. `items` by number; the guest cannot write any.

    `load(address, size)` and `store(address, data)` reach guest memory, and raise ValueError where it cannot be read or written.
    """

    def __init__(
        self, items: Mapping[int, bytes], load: Callable[[int, int], bytes], store: Callable[[int, bytes], None]
    ) -> None:
        self._items, self._load, self._store = items, load, store
        self.bytes_read = self.bytes_transferred = self.transfers = self.errors = 0
        """Read by the data register and by DMA, transfers by DMA, and those of them that failed."""
        self.reset()

    def reset(self) -> None:
        """Select the signature."""
        self.select(SIGNATURE)

    def select(self, number: int) -> None:
        """Begin with the first byte of item `number`; one that does not exist is empty."""
        self._item = self._items.get(number, b"")
        self._position = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes of the item; zeros behind its end."""
        self.bytes_read += size
        return self._next(size)

    def _next(self, size: int) -> bytes:
        data = self._item[self._position : self._position + size]
        self._position = min(self._position + size, len(self._item))
        return data + bytes(size - len(data))

    def transfer(self, address: int) -> None:
        """Carry out the transfer that is described at guest physical `address`; ValueError when there is no memory there."""
        self.transfers += 1
        try:
            control, length, data_address = _REQUEST.unpack(self._load(address, _REQUEST.size))
            done = self._carry_out(DmaControl(control & 0xFFFF), control >> 16, length, data_address)
            self._store(address, _RESULT.pack(0 if done else DmaControl.ERROR))
        except ValueError:
            self.errors += 1
            raise
        self.errors += not done

    def _carry_out(self, control: DmaControl, number: int, length: int, address: int) -> bool:
        if DmaControl.SELECT in control:
            self.select(number)
        if not length:
            return True
        if DmaControl.READ in control:
            if length > len(self._item) - self._position + MOST_ZEROS:
                return False
            try:
                self._store(address, self._next(length))
            except ValueError:
                return False
            self.bytes_transferred += length
        elif DmaControl.WRITE in control:
            return False
        elif DmaControl.SKIP in control:
            self._position = min(self._position + length, len(self._item))
        return True
