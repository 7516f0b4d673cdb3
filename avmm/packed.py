"""Packed kernels: gzip, and the self-extracting EFI images of newer kernels (CONFIG_EFI_ZBOOT), unpacked without EFI."""

from __future__ import annotations

import lzma
import struct
import zlib
from typing import Protocol

from avmm.errors import LoadError

_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZBOOT = struct.Struct("<2s 2x 4s II 8x 32s")
"""MZ, zimg, offset and size of what is packed, and the name of the packing (the kernel's zboot-header.S)."""


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /, max_length: int) -> bytes: ...


def unpack(image: bytes, limit: int) -> bytes:
    """`image` itself, or what is packed in it: at most `limit` + 1 bytes. LoadError when it is damaged or packed otherwise."""
    if image.startswith(_GZIP_MAGIC):
        return _gunzip(image, limit, "gzip file")
    if len(image) < _ZBOOT.size:
        return image
    mz, zimg, offset, size, name = _ZBOOT.unpack_from(image)
    if (mz, zimg) != (b"MZ", b"zimg"):
        return image
    if offset + size > len(image):
        raise LoadError(f"is a truncated EFI image: {offset + size:#x} bytes are needed, it has {len(image):#x}")
    packed = image[offset : offset + size]
    match name.partition(b"\0")[0]:
        case b"gzip":
            return _gunzip(packed, limit, "gzip-compressed EFI image")
        case b"lzma" | b"xzkern":
            return _unpack(packed, limit, lzma.LZMADecompressor(), "xz-compressed EFI image")
        case other:
            kind = other.decode("ascii", "replace")
            raise LoadError(f"is an EFI image compressed by {kind!r}, not by gzip or xz; unpack the kernel in it first")


def _gunzip(packed: bytes, limit: int, what: str) -> bytes:
    return _unpack(packed, limit, zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), what)


def _unpack(packed: bytes, limit: int, unpacker: _Unpacker, what: str) -> bytes:
    try:
        image = unpacker.decompress(packed, limit + 1)
    except (zlib.error, lzma.LZMAError) as error:
        raise LoadError(f"is not a sound {what}: {error}") from None
    if not unpacker.eof and len(image) <= limit:
        raise LoadError(f"is a truncated {what}")
    return image
