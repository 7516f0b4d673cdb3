"""A bank of CFI flash with the Intel/Sharp extended command set (Intel 28F640J3 and its kin)."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, assert_never

from avmm_firmware.cfi import BANK_WIDTH, BUFFER_WORDS, DEVICE_CODE, MANUFACTURER, SECTOR_SIZE, query_table
from avmm_firmware.status import Status

_WINDOW = BUFFER_WORDS * BANK_WIDTH
"""A buffered program stays in one aligned window of this many bytes."""
_REPLICATE: Final = 0x0001_0001
"""What one chip answers, on both."""


Memory = bytearray | mmap.mmap


class Reads(Enum):
    """What loads see."""

    ARRAY = auto()
    STATUS = auto()
    IDENTIFIERS = auto()
    QUERY = auto()


class Awaits(Enum):
    """What the next store is."""

    COMMAND = auto()
    PROGRAM_DATA = auto()
    ERASE_CONFIRMATION = auto()
    LOCK_CONFIRMATION = auto()
    BUFFER_COUNT = auto()
    BUFFER_DATA = auto()
    BUFFER_CONFIRMATION = auto()


class Flash:
    """The model alone. `memory` is the array; `set_direct` is told whether loads may read it without asking.

    `store(offset, data)` keeps what changes, and is called before it does; OSError makes the operation fail, as on a worn cell.
    Operations are complete at once. The bank is `read_only` as one whose program voltage is off.
    """

    def __init__(
        self,
        memory: Memory,
        set_direct: Callable[[bool], None],
        store: Callable[[int, bytes], None],
        *,
        read_only: bool = False,
        sector_size: int = SECTOR_SIZE,
    ) -> None:
        self._memory, self._set_direct, self._store = memory, set_direct, store
        self._read_only, self._sector_size = read_only, sector_size
        self._query = query_table(len(memory), sector_size)
        self.erased_sectors = self.programmed_bytes = 0
        self.rejected = self.store_errors = 0
        """Operations that broke the command set's rules or met protection; those that `store` could not keep."""
        self.reset()

    def reset(self) -> None:
        """Read the array; what it holds stays."""
        self._status = Status.READY
        self._awaits = Awaits.COMMAND
        self._words_left = 0
        self._buffer: list[tuple[int, bytes]] = []
        self._show(Reads.ARRAY)

    def read(self, offset: int, width: int) -> int:
        """`width` bytes at `offset`, little-endian."""
        if self._reads is Reads.ARRAY:
            return int.from_bytes(self._memory[offset : offset + width], "little")
        first = offset // BANK_WIDTH
        words = self._word(first) | self._word(first + 1) << 32 | self._word(first + 2) << 64
        return words >> 8 * (offset % BANK_WIDTH) & (1 << 8 * width) - 1

    def _word(self, index: int) -> int:
        """What the bank's word number `index` reads as, in any mode but ARRAY."""
        match self._reads:
            case Reads.QUERY:
                answer = self._query[index] if index < len(self._query) else 0
            case Reads.IDENTIFIERS:
                answer = {0: MANUFACTURER, 1: DEVICE_CODE}.get(index % (self._sector_size // BANK_WIDTH), 0)
            case _:
                answer = self._status
        return answer * _REPLICATE

    def write(self, offset: int, width: int, value: int) -> None:
        """The next cycle of a command: what it means depends on those before."""
        match self._awaits:
            case Awaits.COMMAND:
                self._command(value & 0xFF)
            case Awaits.PROGRAM_DATA:
                self._awaits = Awaits.COMMAND
                self._program(offset, value.to_bytes(width, "little"))
            case Awaits.ERASE_CONFIRMATION:
                self._awaits = Awaits.COMMAND
                self._erase(offset, confirmed=value & 0xFF == 0xD0)
            case Awaits.LOCK_CONFIRMATION:
                self._awaits = Awaits.COMMAND
                if value & 0xFF not in (0x01, 0xD0):  # no block can be locked, and none is
                    self._reject(Status.SEQUENCE_ERROR)
            case Awaits.BUFFER_COUNT:
                self._begin_buffer((value & 0xFFFF) + 1)
            case Awaits.BUFFER_DATA:
                self._fill_buffer(offset, value.to_bytes(width, "little"))
            case Awaits.BUFFER_CONFIRMATION:
                self._end_buffer(confirmed=value & 0xFF == 0xD0)
            case _:
                assert_never(self._awaits)

    def _command(self, command: int) -> None:
        match command:
            case 0xFF | 0xF0 | 0x00:  # the second is how drivers reset a chip of AMD's before they know whose it is
                self._show(Reads.ARRAY)
            case 0x90:
                self._show(Reads.IDENTIFIERS)
            case 0x98:
                self._show(Reads.QUERY)
            case 0x70 | 0xB0 | 0xD0:  # nothing is under way that could be suspended or resumed
                self._show(Reads.STATUS)
            case 0x50:
                self._status = Status.READY
            case 0x10 | 0x40:
                self._expect(Awaits.PROGRAM_DATA)
            case 0x20:
                self._expect(Awaits.ERASE_CONFIRMATION)
            case 0x60:
                self._expect(Awaits.LOCK_CONFIRMATION)
            case 0xE8:
                self._expect(Awaits.BUFFER_COUNT)
            case _:  # what firmware stores by mistake, while it runs from here, must not take the array away
                self.rejected += 1
                self._show(Reads.ARRAY)

    def _expect(self, cycle: Awaits) -> None:
        self._awaits = cycle
        self._show(Reads.STATUS)

    def _show(self, reads: Reads) -> None:
        self._reads = reads
        self._set_direct(reads is Reads.ARRAY)

    def _reject(self, error: Status) -> None:
        self.rejected += 1
        self._status |= error
        self._awaits = Awaits.COMMAND
        self._buffer.clear()
        self._show(Reads.STATUS)

    def _erase(self, offset: int, *, confirmed: bool) -> None:
        if not confirmed:
            self._reject(Status.SEQUENCE_ERROR)
            return
        if self._read_only:
            self._reject(Status.ERASE_ERROR | Status.PROTECTED)
            return
        first = offset - offset % self._sector_size
        if self._change(first, b"\xff" * self._sector_size, Status.ERASE_ERROR):
            self.erased_sectors += 1

    def _program(self, offset: int, data: bytes) -> None:
        if self._read_only:
            self._reject(Status.PROGRAM_ERROR | Status.PROTECTED)
            return
        # Programming clears bits; only erasing sets them.
        new = bytes(old & byte for old, byte in zip(self._memory[offset : offset + len(data)], data, strict=True))
        if self._change(offset, new, Status.PROGRAM_ERROR):
            self.programmed_bytes += len(new)

    def _change(self, offset: int, new: bytes, error: Status) -> bool:
        try:
            self._store(offset, new)
        except OSError:
            self.store_errors += 1
            self._status |= error
            return False
        self._memory[offset : offset + len(new)] = new
        return True

    def _begin_buffer(self, words: int) -> None:
        if words > BUFFER_WORDS:
            self._reject(Status.SEQUENCE_ERROR)
            return
        self._words_left = words
        self._awaits = Awaits.BUFFER_DATA

    def _fill_buffer(self, offset: int, data: bytes) -> None:
        # The first store says where, not the count's, which may be anywhere in the sector.
        window = (self._buffer[0][0] if self._buffer else offset) // _WINDOW
        if offset // _WINDOW != window or (offset + len(data) - 1) // _WINDOW != window:
            self._reject(Status.SEQUENCE_ERROR)
            return
        self._buffer.append((offset, data))
        self._words_left -= max(1, len(data) // BANK_WIDTH)
        if self._words_left <= 0:
            self._awaits = Awaits.BUFFER_CONFIRMATION

    def _end_buffer(self, *, confirmed: bool) -> None:
        if not confirmed:
            self._reject(Status.SEQUENCE_ERROR)
            return
        self._awaits = Awaits.COMMAND
        buffer, self._buffer = self._buffer, []
        for offset, data in buffer:
            self._program(offset, data)
