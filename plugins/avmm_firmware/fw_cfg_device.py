"""fw_cfg as a device of a machine: selector, data and DMA registers (QEMU, docs/specs/fw_cfg, "Register Locations")."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from avmm.plugin import Device, DeviceOptions, DeviceTable, Figure, FigureKind, FigureValue, GuestMemory, LoadError, Width, unpack
from avmm_firmware.fw_cfg import DMA_SIGNATURE, FwCfg
from avmm_firmware.fw_cfg_items import MAX_FILES, MAX_NAME, items

_DATA, _SELECTOR, _DMA = 0x00, 0x08, 0x10
_MAX_ITEM = (1 << 32) - 1
_BYTES = "Bytes of fw_cfg items that the guest read."
_READ = Figure("fw_cfg_bytes", FigureKind.COUNTER, _BYTES, {"by": "register"})
_TRANSFERRED = Figure("fw_cfg_bytes", FigureKind.COUNTER, _BYTES, {"by": "dma"})
_TRANSFERS = Figure("fw_cfg_transfers", FigureKind.COUNTER, "Transfers of fw_cfg by DMA.")
_ERRORS = Figure("fw_cfg_errors", FigureKind.COUNTER, "Transfers of fw_cfg by DMA that were refused.")


class FwCfgDevice(Device):
    """fw_cfg with its memory-mapped registers, which are big-endian but for the data's. Owner of all state: the device lock."""

    size = 0x18

    def __init__(self, contents: dict[int, bytes], options: DeviceOptions) -> None:
        self._memory, self._guest_fault = options.memory, options.guest_fault
        self.model = FwCfg(contents, self._load, self._store)
        self._address = 0

    def read(self, offset: int, width: Width) -> int:
        if offset < _SELECTOR:
            # The data register keeps the order of bytes, whatever the width.
            return int.from_bytes(self.model.read(width), "little")
        if offset >= _DMA:
            return int.from_bytes(DMA_SIGNATURE[offset - _DMA : offset - _DMA + width], "little")
        return 0

    def write(self, offset: int, width: Width, value: int) -> None:
        number = int.from_bytes(value.to_bytes(width, "little"), "big")
        match offset, width:
            case (0x08, Width.W16):
                self.model.select(number)
            case (0x10, Width.W32):
                self._address = number << 32
            case (0x14, Width.W32):
                self._transfer(self._address | number)
            case (0x10, Width.W64):
                self._transfer(number)
            case _:
                pass  # no register of that size is there

    def reset(self) -> None:
        self._address = 0
        self.model.reset()

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        model = self.model
        return (
            (_READ, model.bytes_read),
            (_TRANSFERRED, model.bytes_transferred),
            (_TRANSFERS, model.transfers),
            (_ERRORS, model.errors),
        )

    def _transfer(self, address: int) -> None:
        self._address = 0
        try:
            self.model.transfer(address)
        except ValueError:
            self._guest_fault("fw_cfg", f"a transfer is described at {address:#x}, where no memory is")

    def _load(self, address: int, size: int) -> bytes:
        return self._memory.read(address, size)

    def _store(self, address: int, data: bytes) -> None:
        slot = self._memory.find(address, len(data))
        if slot is None or slot.read_only:
            raise ValueError(f"no memory to write {len(data)} bytes to at {address:#x}")
        self._memory.write(address, data)


def create_fw_cfg(options: DeviceOptions) -> Device:
    """The factory behind the name `fw-cfg`.

    Options: `kernel`, `initrd` (files) and `append`, which firmware boots; `vcpus`, how many it is told of (1); `files`, a table
    of names, like `opt/org.example/key`, and the files they hold. ConfigError for anything else, LoadError for a file that
    cannot be read.
    """
    table = DeviceTable(options, "fw-cfg", ("kernel", "initrd", "append", "vcpus", "files"))
    kernel, initrd = table.path("kernel"), table.path("initrd")
    contents = items(
        table.integer("vcpus", 1, 0xFFFF) or 1,
        b"" if kernel is None else _kernel(kernel, options.memory),
        b"" if initrd is None else _read(initrd),
        table.text("append"),
        {name: _read(where) for name, where in _files(table).items()},
    )
    return FwCfgDevice(contents, options)


def _files(table: DeviceTable) -> dict[str, Path]:
    files = table.values.get("files", {})
    if not isinstance(files, dict) or len(files) > MAX_FILES:
        raise table.error("files", f"must be a table of at most {MAX_FILES} names and paths")
    found = {}
    for name, where in files.items():
        if not 0 < len(name.encode()) <= MAX_NAME or "\0" in name:
            raise table.is_not("files", name, f"a name of 1 to {MAX_NAME} bytes")
        if not isinstance(where, str) or not where or "\0" in where:
            raise table.is_not(f"files.{name}", where, "the path of a file")
        found[name] = Path(where)
    return found


def _kernel(where: Path, memory: GuestMemory) -> bytes:
    """Unpacked, since firmware may not be able to; never more than guest memory would hold."""
    packed, limit = _read(where), max((slot.size for slot in memory), default=_MAX_ITEM)
    try:
        image = unpack(packed, limit)
    except LoadError as error:
        raise LoadError(f"{where}: {error}") from None
    if len(image) > limit:
        raise LoadError(f"{where}: is larger than guest memory ({limit:#x} bytes)")
    return image


def _read(where: Path) -> bytes:
    """A whole file. Looked at before it is opened: opening a pipe would wait for its writer."""
    try:
        status = where.stat()
        if not stat.S_ISREG(status.st_mode):
            raise LoadError(f"{where}: is not a regular file")
        if status.st_size > _MAX_ITEM:
            raise LoadError(f"{where}: has {status.st_size:#x} bytes, more than firmware can be given")
        return where.read_bytes()
    except OSError as error:
        raise LoadError(f"{where}: {error.strerror}") from None
