"""Flash as a device of a machine: memory that the guest reads and executes, and commands through the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from avmm.plugin import Device, DeviceOptions, DeviceTable, Figure, FigureKind, FigureValue, Rom, Width
from avmm_firmware.cfi import SECTOR_SIZE
from avmm_firmware.flash import Flash
from avmm_firmware.flash_file import FlashFile

BANK_SIZE = 64 << 20
_ERASED = Figure("flash_erased_sectors", FigureKind.COUNTER, "Sectors of a flash that were erased.")
_PROGRAMMED = Figure("flash_programmed_bytes", FigureKind.COUNTER, "Bytes of a flash that were programmed.")
_ERRORS = "Operations of a flash that failed: the guest's fault, or the file's behind it."
_REJECTED = Figure("flash_errors", FigureKind.COUNTER, _ERRORS, {"at": "guest"})
_STORE = Figure("flash_errors", FigureKind.COUNTER, _ERRORS, {"at": "file"})


class FlashDevice(Device):
    """A bank of CFI flash. Owner of all state: the device lock."""

    def __init__(self, rom: Rom, file: FlashFile | None, *, read_only: bool, sector_size: int = SECTOR_SIZE) -> None:
        """`file` holds what the flash holds; without one that lasts as long as the machine."""
        self._rom, self._file = rom, file
        self.size = len(rom.buffer)
        if file is not None:
            file.load(rom.buffer)
        self._unsynced = False
        self.model = Flash(rom.buffer, self._set_direct, self._store, read_only=read_only, sector_size=sector_size)

    def read(self, offset: int, width: Width) -> int:
        return self.model.read(offset, width)

    def write(self, offset: int, width: Width, value: int) -> None:
        self.model.write(offset, width, value)

    def reset(self) -> None:
        self.model.reset()

    async def run(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.quiesce()

    async def quiesce(self) -> None:
        if self._file is not None and self._unsynced:
            self._unsynced = False
            await asyncio.to_thread(self._file.sync)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        model = self.model
        return (
            (_ERASED, model.erased_sectors),
            (_PROGRAMMED, model.programmed_bytes),
            (_REJECTED, model.rejected),
            (_STORE, model.store_errors),
        )

    def _set_direct(self, direct: bool) -> None:
        self._rom.direct = direct

    def _store(self, offset: int, data: bytes) -> None:
        if self._file is not None:
            self._unsynced = True
            self._file.write(offset, data)


def create_flash(options: DeviceOptions) -> Device:
    """The factory behind the name `cfi-flash`: a bank of 64 MiB.

    Options: `file`, what it holds (nothing, when left out); `read_only` (false), for what only the host may change. ConfigError
    for anything else, LoadError for a file that cannot be used.
    """
    table = DeviceTable(options, "cfi-flash", ("file", "read_only"))
    path, read_only = table.path("file"), table.flag("read_only", default=False)
    file = None if path is None else FlashFile(path, BANK_SIZE, read_only=read_only)
    try:
        return FlashDevice(options.make_rom(BANK_SIZE), file, read_only=read_only)
    except BaseException:
        if file is not None:
            file.close()
        raise
