"""Linux kernel images for arm64 (Documentation/arch/arm64/booting.rst, section "Call the kernel image")."""

from __future__ import annotations

import struct

from avmm.errors import LoadError
from avmm.loader.placement import check_fits, place
from avmm.memory import GuestMemory

_HEADER = struct.Struct("<8x QQQ 24x 4s 4x")
"""text_offset, image_size, flags, magic; before them two instructions, between them three reserved words."""
_MAGIC = b"ARM\x64"
_BIG_ENDIAN = 1 << 0
_BASE_ALIGNMENT = 2 << 20
_OLD_TEXT_OFFSET = 0x8_0000
"""Where kernels before 3.17 go, whose image_size is 0 and whose text_offset means nothing."""


def recognise(image: bytes) -> bool:
    """True when `image` has the header of an arm64 Image."""
    return len(image) >= _HEADER.size and _HEADER.unpack_from(image)[3] == _MAGIC


def load(image: bytes, memory: GuestMemory, image_base: int) -> tuple[int, int]:
    """Load an Image at its text offset from the first 2 MiB boundary at or above `image_base`; its entry and its end.

    The end is behind the memory the kernel claims for itself (image_size), its uninitialised data included.
    """
    text_offset, image_size, flags, _ = _HEADER.unpack_from(image)
    if flags & _BIG_ENDIAN:
        raise LoadError("the arm64 Image is big-endian, not little-endian")
    if not image_size:
        text_offset = _OLD_TEXT_OFFSET
    address = -(-image_base // _BASE_ALIGNMENT) * _BASE_ALIGNMENT + text_offset
    size = max(image_size, len(image))
    check_fits(memory, address, size, "the arm64 Image")
    place(memory, address, image, "the arm64 Image")
    return address, address + size
