"""Packed kernels: gzip, and the self-extracting EFI images of newer kernels (CONFIG_EFI_ZBOOT), unpacked without EFI."""

from __future__ import annotations

import struct
from typing import Protocol

from avmm.errors import LoadError

_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZBOOT = struct.Struct("<8x II 8x 32s")
"""Behind the magic: offset and size of what is packed, and the name of the packing (the kernel's zboot-header.S)."""


def is_packed(head: bytes) -> bool:
    """True when something is packed in what begins with `head`, as far as its first bytes tell."""
    return head.startswith(_GZIP_MAGIC) or (head.startswith(b"MZ") and head.startswith(b"zimg", 4))


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /, max_length: int) -> bytes: ...


def unpack(image: bytes, limit: int) -> bytes:
    """`image` itself, or what is packed in it: at most `limit` + 1 bytes. LoadError when it is damaged or packed otherwise."""
    if image.startswith(_GZIP_MAGIC):
        return _gunzip(image, limit, "gzip file")
    if not is_packed(image) or len(image) < _ZBOOT.size:
        return image
    offset, size, name = _ZBOOT.unpack_from(image)
    if offset + size > len(image):
        raise LoadError(f"is a truncated EFI image: {offset + size:#x} bytes are needed, it has {len(image):#x}")
    packed = image[offset : offset + size]
    match name.partition(b"\0")[0]:
        case b"gzip":
            return _gunzip(packed, limit, "gzip-compressed EFI image")
        case b"lzma" | b"xzkern":
            return _unxz(packed, limit, "xz-compressed EFI image")
        case other:
            kind = other.decode("ascii", "replace")
            raise LoadError(f"is an EFI image compressed by {kind!r}, not by gzip or xz; unpack the kernel in it first")


def _gunzip(packed: bytes, limit: int, what: str) -> bytes:
    import zlib  # most kernels are not packed

    try:
        return _unpack(packed, limit, zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), what)
    except zlib.error as error:
        raise LoadError(f"is not a sound {what}: {error}") from None


def _unxz(packed: bytes, limit: int, what: str) -> bytes:
    import lzma  # fewer still

    try:
        return _unpack(packed, limit, lzma.LZMADecompressor(), what)
    except lzma.LZMAError as error:
        raise LoadError(f"is not a sound {what}: {error}") from None


def _unpack(packed: bytes, limit: int, unpacker: _Unpacker, what: str) -> bytes:
    image = unpacker.decompress(packed, limit + 1)
    if not unpacker.eof and len(image) <= limit:
        raise LoadError(f"is a truncated {what}")
    return image
