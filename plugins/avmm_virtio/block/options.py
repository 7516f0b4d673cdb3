"""A block device as a table of a machine's description: `[devices.NAME]` with `kind = "virtio-blk"`."""

from __future__ import annotations

import os

from avmm.plugin import Device, DeviceOptions, DeviceTable
from avmm_virtio.block.blockdev import Blockdev
from avmm_virtio.block.device import MAX_QUEUES, VirtioBlk
from avmm_virtio.block.file import FileBlockdev, open_image
from avmm_virtio.block.request import ID_BYTES
from avmm_virtio.mmio import VirtioMmio

_KEYS = ("file", "read_only", "serial", "queues", "cache", "discard", "block_size", "connections", "reconnect", "timeout")
_BLOCK_SIZES = (512, 4096)


def create_blk(options: DeviceOptions) -> Device:
    """The factory behind the name `virtio-blk`; ConfigError names the key that is wrong.

    `file`: the path of an image or of a block device of the host, or an `nbd://` or `nbd+unix://` URI; in Python also a
    `Blockdev`. `read_only` (false). `serial`: up to 20 ASCII characters. `queues` (1): 1 to 16. `cache` (`writeback`):
    `writethrough` has every write wait until it is durable. `discard` (true): what the guest discards is given back to the
    host. `block_size`: 512 or 4096, of an image. With NBD, `connections` (1): 1 to 16, where the server allows several;
    `reconnect` (1): seconds until a server that went away is tried again, 0 for never; `timeout` (30): seconds after which a
    server that owes an answer counts as gone, 0 for never.
    """
    table = _Table(options)
    serial, queues, writeback = table.serial(), table.integer("queues", 1, MAX_QUEUES), table.writeback()
    disk = table.disk()  # last: it opens something
    return VirtioMmio(VirtioBlk(disk, options.clock, serial=serial, queues=queues or 1, writeback=writeback), options)


class _Table(DeviceTable):
    """The options of one disk."""

    def __init__(self, options: DeviceOptions) -> None:
        super().__init__(options, "virtio-blk", _KEYS)

    def disk(self) -> Blockdev:
        """The backend that `file` asks for."""
        match file := self.values.get("file"):
            case Blockdev():
                return file
            case str() if "://" in file:
                self._refuse("block_size", "an image")
                return self._nbd(file)
            case str() | os.PathLike() if str(file):
                self._refuse("connections", "an NBD disk")
                self._refuse("reconnect", "an NBD disk")
                self._refuse("timeout", "an NBD disk")
                return self._file(os.fspath(file))
            case None:
                raise self.error("file", "missing: an image's path, or an nbd:// or nbd+unix:// URI")
            case _:
                raise self.is_not("file", file, "an image's path, or an nbd:// or nbd+unix:// URI")

    def _refuse(self, key: str, owner: str) -> None:
        if key in self.values:
            raise self.error(key, f"is a setting of {owner}")

    def _nbd(self, text: str) -> Blockdev:
        # Few disks are behind a server.
        from avmm_virtio.nbd.blockdev import MAX_CONNECTIONS, NbdBlockdev
        from avmm_virtio.nbd.protocol import NbdError
        from avmm_virtio.nbd.uri import parse_uri

        read_only, discard = self.flag("read_only", default=False), self.flag("discard", default=True)
        connections, reconnect_s = self.integer("connections", 1, MAX_CONNECTIONS) or 1, self.seconds("reconnect", 1.0)
        try:
            return NbdBlockdev(
                self.name,
                parse_uri(text),
                read_only=read_only,
                discard=discard,
                connections=connections,
                reconnect_s=reconnect_s,
                timeout_s=self.seconds("timeout", 30.0),
            )
        except (ValueError, NbdError) as error:
            raise self.error("file", str(error)) from None

    def _file(self, path: str) -> Blockdev:
        read_only, discard = self.flag("read_only", default=False), self.flag("discard", default=True)
        block_size = self.integer("block_size", *_BLOCK_SIZES)
        if block_size not in (None, *_BLOCK_SIZES):
            raise self.is_not("block_size", block_size, "512 or 4096")
        try:
            image = open_image(path, read_only=read_only)
        except (ValueError, OSError) as error:
            raise self.error("file", str(error)) from None
        return FileBlockdev(self.name, image, read_only=read_only, discard=discard, block_size=block_size)

    def serial(self) -> str:
        """What GET_ID answers."""
        given = self.values.get("serial", "")
        text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
        if isinstance(text, str) and text.isascii() and text.isprintable() and len(text) <= ID_BYTES:
            return text
        raise self.is_not("serial", given, f"a text of up to {ID_BYTES} ASCII characters")

    def writeback(self) -> bool:
        """False for `writethrough`."""
        given = self.values.get("cache", "writeback")
        if given in ("writeback", "writethrough"):
            return given == "writeback"
        raise self.is_not("cache", given, "writeback or writethrough")
