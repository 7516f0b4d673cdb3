"""Archives as the kernel unpacks them into its initramfs (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

import stat


class CpioWriter:
    """A cpio archive in the `newc` format. Everything belongs to root and has no date, so that equal contents are equal bytes."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0
        self._folders: set[str] = set()

    def folder(self, path: str) -> None:
        """A folder, and those above it that are not there yet. Paths have no leading slash."""
        if path and path not in self._folders:
            self.folder(path.rpartition("/")[0])
            self._folders.add(path)
            self._add(path, stat.S_IFDIR | 0o755)

    def file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """A file, and the folders above it."""
        self.folder(path.rpartition("/")[0])
        self._add(path, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def link(self, path: str, target: str) -> None:
        """A symbolic link, and the folders above it."""
        self.folder(path.rpartition("/")[0])
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int) -> None:
        """A device node, and the folders above it."""
        self.folder(path.rpartition("/")[0])
        self._add(path, stat.S_IFCHR | 0o600, device=(major, minor))

    def finish(self) -> bytes:
        """The whole archive. The kernel takes several, one behind the other, each on a boundary of four bytes."""
        self._inode = -1
        self._add("TRAILER!!!", 0)
        return bytes(self._data)

    def _add(self, path: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        name = path.encode() + b"\0"
        # inode, mode, uid, gid, links, date, size, device of the file (2), device it is (2), size of the name, checksum
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
        self._pad(b"070701" + b"".join(b"%08X" % field for field in fields) + name)
        self._pad(content)

    def _pad(self, data: bytes) -> None:
        self._data += data + bytes(-len(data) % 4)
