"""A guest kernel: a file of some kind becomes bytes in guest memory and an entry address."""

from __future__ import annotations

import stat
from io import SEEK_END, BufferedIOBase, BytesIO
from pathlib import Path

from avmm.errors import LoadError
from avmm.loader import arm64_image, elf
from avmm.loader.placement import place
from avmm.memory import GuestMemory
from avmm.packed import is_packed, unpack
from avmm.record import Record

EM_AARCH64 = 183
FLAT_OFFSET = 0x8_0000
"""Where a flat image goes, from the image base: where Linux images go that name no offset of their own."""

_FOREIGN = (
    (0x202, b"HdrS", "an x86 Linux kernel (bzImage)"),
    (0x24, b"\x18\x28\x6f\x01", "a 32-bit ARM Linux kernel (zImage)"),
    (0x38, b"ARM\x64", "an arm64 Linux kernel (Image)"),
    (0x38, b"RSC\x05", "a RISC-V Linux kernel (Image)"),
    (0x00, b"\x27\x05\x19\x56", "a U-Boot image (uImage)"),
    (0x00, b"\xfd7zXZ\0", "compressed by xz; unpack it first"),
    (0x00, b"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it first"),
    (0x00, b"BZh", "compressed by bzip2; unpack it first"),
)
"""What must not be taken for a flat image: offset, magic, what it is."""
_PACKED = (b"\x1f\x8b", b"MZ")
"""How a gzip file and an EFI image begin."""
_HEAD = 0x210
"""So many bytes at the start of a file have all that tells what it is."""


class LoadedKernel(Record):
    """A guest in memory: where it starts, and the first free address behind it (uninitialised data included)."""

    entry: int
    end: int
    kind: str
    """`elf`, `arm64-image` or `flat`."""


def load_kernel(path: Path | str, memory: GuestMemory, *, elf_machine: int, image_base: int) -> LoadedKernel:
    """Load the kernel at `path` into guest memory; LoadError says in one line why it cannot be.

    An ELF file goes to the physical addresses of its segments; a Linux arm64 Image to its text offset from `image_base`;
    anything else is flat and goes to `image_base` + 0x80000. The latter two may be gzip-compressed, or in a self-extracting
    EFI image (gzip or xz). `elf_machine` is the e_machine of the guest's architecture.
    """
    path = Path(path)
    try:
        # Looked at before it is opened: opening a pipe would wait for its writer.
        if stat.S_ISDIR(mode := path.stat().st_mode):
            raise LoadError("is a directory")
        if not stat.S_ISREG(mode):
            raise LoadError("is not a regular file")
        with path.open("rb") as file:
            return _load(file, memory, elf_machine, image_base)
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror or error}") from None
    except LoadError as error:
        raise LoadError(f"{path}: {error}") from None


def is_flat(path: Path) -> bool:
    """True when `load_kernel` would take the file at `path` for a flat image, as it is; False too when it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    other = any(head.startswith(magic, offset) for offset, magic, _ in _FOREIGN)
    return bool(head) and not other and not head.startswith((elf.MAGIC, *_PACKED))


def _load(file: BufferedIOBase, memory: GuestMemory, elf_machine: int, image_base: int) -> LoadedKernel:
    if file.read(len(elf.MAGIC)) == elf.MAGIC:
        return LoadedKernel(*elf.load(file, memory, elf_machine), "elf")
    file, size = _unpacked(file, max((slot.size for slot in memory), default=0))
    head = file.read(_HEAD)
    if elf_machine == EM_AARCH64 and arm64_image.recognise(head):
        return LoadedKernel(*arm64_image.load(file, size, memory, image_base), "arm64-image")
    for offset, magic, what in _FOREIGN:
        if head.startswith(magic, offset):
            raise LoadError(f"is {what}")
    address = image_base + FLAT_OFFSET
    place(memory, address, file, 0, size, "the flat image")
    return LoadedKernel(address, address + size, "flat")


def _unpacked(file: BufferedIOBase, limit: int) -> tuple[BufferedIOBase, int]:
    """`file`, or what is packed in it, from its start, and its size; LoadError when that is 0, or more than `limit` bytes."""
    file.seek(0)
    if is_packed(file.read(_HEAD)):
        file.seek(0)
        # One byte more than may be there, so that too much is seen without being read.
        file = BytesIO(unpack(file.read(limit + 1), limit))
    size = file.seek(0, SEEK_END)
    file.seek(0)
    if not size:
        raise LoadError("is empty")
    if size > limit:
        raise LoadError(f"is larger than guest memory ({limit:#x} bytes)")
    return file, size
