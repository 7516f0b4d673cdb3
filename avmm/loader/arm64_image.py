"""Linux kernel images for arm64 (Documentation/arch/arm64/booting.rst, section "Call the kernel image")."""

from __future__ import annotations

import struct
from io import BufferedIOBase

from avmm.errors import LoadError
from avmm.loader.placement import check_fits, place
from avmm.memory import GuestMemory

_HEADER = struct.Struct("<8x QQQ 24x 4s 4x")
"""text_offset, image_size, flags, magic; before them two instructions, between them three reserved words."""
_MAGIC = b"ARM\x64"
_BIG_ENDIAN = 1 << 0
_BASE_ALIGNMENT = 2 << 20
_PE = struct.Struct("<4s 2x H 12x H 2x")
"""PE/COFF header: signature, number of sections, size of the optional header behind it."""
_PE_SECTION = struct.Struct("<16x II 16x")
"""Size and offset in the file."""
_PE_OFFSET = 0x3C
_OLD_TEXT_OFFSET = 0x8_0000
"""Where kernels before 3.17 go, whose image_size is 0 and whose text_offset means nothing."""


def recognise(head: bytes) -> bool:
    """True when what begins with `head` has the header of an arm64 Image."""
    return len(head) >= _HEADER.size and _HEADER.unpack_from(head)[3] == _MAGIC


def load(file: BufferedIOBase, size: int, memory: GuestMemory, image_base: int) -> tuple[int, int]:
    """Load an Image of `size` bytes at its text offset from the first 2 MiB boundary at or above `image_base`; its entry and end.

    The end is behind the memory the kernel claims for itself (image_size), its uninitialised data included.
    """
    text_offset, image_size, flags, _ = _HEADER.unpack(_read(file, 0, _HEADER.size))
    if flags & _BIG_ENDIAN:
        raise LoadError("the arm64 Image is big-endian, not little-endian")
    if (whole := _size_in_file(file, size)) > size:
        raise LoadError(f"the arm64 Image is truncated: {whole:#x} bytes are needed, it has {size:#x}")
    if not image_size:
        text_offset = _OLD_TEXT_OFFSET
    address = -(-image_base // _BASE_ALIGNMENT) * _BASE_ALIGNMENT + text_offset
    claimed = max(image_size, size)
    check_fits(memory, address, claimed, "the arm64 Image")
    place(memory, address, file, 0, size, "the arm64 Image")
    return address, address + claimed


def _size_in_file(file: BufferedIOBase, size: int) -> int:
    """How long the file must be: what the Image cannot say itself, but the PE/COFF header of its EFI stub can; 0 without one."""
    start = int.from_bytes(_read(file, _PE_OFFSET, 4), "little")
    if not start or size < start + _PE.size:
        return start + _PE.size if start else 0
    signature: bytes
    count: int
    optional: int
    signature, count, optional = _PE.unpack(_read(file, start, _PE.size))
    if signature != b"PE\0\0":
        return 0
    table = start + _PE.size + optional
    if size < (end := table + count * _PE_SECTION.size):
        return end
    return max((size + at for size, at in _PE_SECTION.iter_unpack(_read(file, table, end - table))), default=0)


def _read(file: BufferedIOBase, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
