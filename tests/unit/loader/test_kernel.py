"""Linux arm64 Images and flat images, plain and compressed; and files that are neither."""

from __future__ import annotations

import gzip
import lzma
import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avmm.errors import LoadError
from avmm.loader import LoadedKernel
from avmm.memory import GuestMemory
from tests.unit.loader.loading import load, outcome, refusal
from tests.unit.loader.ram import RAM, SIZE, X86_64


def image(text_offset: int = 0, image_size: int = 0x1000, flags: int = 0b1010, body: bytes = b"kernel") -> bytes:
    return struct.pack("<IIQQQQQQ4sI", 0x14000010, 0, text_offset, image_size, flags, 0, 0, 0, b"ARM\x64", 0) + body


def zboot(packed: bytes, kind: str, *, size: int | None = None) -> bytes:
    """A self-extracting EFI image as CONFIG_EFI_ZBOOT makes it."""
    header = struct.pack("<2s2x4sII8x32sII", b"MZ", b"zimg", 64, len(packed) if size is None else size, kind.encode(), 0, 0)
    return header + packed


def efi_image(size: int) -> bytes:
    """An Image with the PE/COFF header of an EFI stub, `size` bytes in the file and more in memory."""
    start = struct.pack("<IIQQQQQQ4sI", 0x14000010, 0, 0, size + 0x1000, 0b1010, 0, 0, 0, b"ARM\x64", 0x40)
    header = b"PE\0\0" + struct.pack("<HHIIIHH", 0xAA64, 2, 0, 0, 0, 0, 0x206)
    sections = [(b".text", 0x800, 0x100), (b".data", size - 0x900, 0x900)]
    for name, raw, at in sections:
        header += struct.pack("<8sIIIIIIHHI", name, raw, at, raw, at, 0, 0, 0, 0, 0)
    return (start + header).ljust(size, b"\1")


@pytest.fixture
def file() -> Path:
    return Path("Image")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_image_goes_to_its_text_offset(file: Path, memory: GuestMemory, pack: type[bytes]) -> None:
    content = image(text_offset=0x10_0000, image_size=0x2000)
    file.write_bytes(pack(content))
    assert load(file, memory) == LoadedKernel(RAM + 0x10_0000, RAM + 0x10_2000, "arm64-image")
    assert memory.read(RAM + 0x10_0000, len(content)) == content


def test_an_image_starts_from_a_2_mib_boundary(file: Path, memory: GuestMemory) -> None:
    file.write_bytes(image(text_offset=0x1000))
    assert load(file, memory, base=RAM + 1).entry == RAM + (2 << 20) + 0x1000


def test_an_image_may_be_its_header_alone(file: Path, memory: GuestMemory) -> None:
    file.write_bytes(image(body=b""))
    assert load(file, memory) == LoadedKernel(RAM, RAM + 0x1000, "arm64-image")


@pytest.mark.parametrize("kind", ["gzip", "xzkern", "lzma"])
def test_a_self_extracting_efi_image_is_unpacked(file: Path, memory: GuestMemory, kind: str) -> None:
    content = image(body=b"kernel" * 1000)
    match kind:
        case "gzip":
            packed = gzip.compress(content)
        case "xzkern":
            packed = lzma.compress(content)
        case _:
            packed = lzma.compress(content, format=lzma.FORMAT_ALONE)
    file.write_bytes(zboot(packed, kind) + b"further sections")
    assert load(file, memory).kind == "arm64-image"
    assert memory.read(RAM, len(content)) == content


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_image_with_an_efi_stub_is_whole(file: Path, memory: GuestMemory, pack: type[bytes]) -> None:
    file.write_bytes(pack(efi_image(0x1000)))
    assert load(file, memory) == LoadedKernel(RAM, RAM + 0x2000, "arm64-image")


def test_an_image_that_efi_can_start_is_not_packed(file: Path, memory: GuestMemory) -> None:
    content = b"MZ" + efi_image(0x1000)[2:]
    file.write_bytes(content)
    assert load(file, memory).kind == "arm64-image"
    assert memory.read(RAM, len(content)) == content


def test_an_old_image_without_a_size_goes_to_the_old_offset(file: Path, memory: GuestMemory) -> None:
    content = image(text_offset=0x1234, image_size=0)
    file.write_bytes(content)
    assert load(file, memory) == LoadedKernel(RAM + 0x8_0000, RAM + 0x8_0000 + len(content), "arm64-image")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_anything_else_is_flat(file: Path, memory: GuestMemory, pack: type[bytes]) -> None:
    file.write_bytes(pack(b"\x01\x02\x03"))
    assert load(file, memory) == LoadedKernel(RAM + 0x8_0000, RAM + 0x8_0003, "flat")
    assert memory.read(RAM + 0x8_0000, 4) == b"\x01\x02\x03\0"


RAM_RANGE = "guest memory (0x40000000-0x403fffff)"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "Image: is empty"),
        (gzip.compress(b""), "Image: is empty"),
        (bytes(SIZE + 1), "Image: is larger than guest memory (0x400000 bytes)"),
        (gzip.compress(bytes(SIZE + 1)), "Image: is larger than guest memory (0x400000 bytes)"),
        (gzip.compress(b"x" * 100)[:-1], "Image: is a truncated gzip file"),
        (bytes(SIZE), f"Image: the flat image needs 0x400000 bytes at 0x40080000, which {RAM_RANGE} does not have"),
        (image(flags=1), "Image: the arm64 Image is big-endian, not little-endian"),
        (
            image(image_size=SIZE + 1),
            f"Image: the arm64 Image needs 0x400001 bytes at 0x40000000, which {RAM_RANGE} does not have",
        ),
        (
            image(text_offset=1 << 63),
            f"Image: the arm64 Image needs 0x1000 bytes at 0x8000000040000000, which {RAM_RANGE} does not have",
        ),
        (bytes(0x202) + b"HdrS", "Image: is an x86 Linux kernel (bzImage)"),
        (bytes(0x24) + b"\x18\x28\x6f\x01", "Image: is a 32-bit ARM Linux kernel (zImage)"),
        (bytes(0x38) + b"RSC\x05", "Image: is a RISC-V Linux kernel (Image)"),
        (b"\x27\x05\x19\x56" + bytes(60), "Image: is a U-Boot image (uImage)"),
        (b"\xfd7zXZ\0" + bytes(60), "Image: is compressed by xz; unpack it first"),
        (b"\x28\xb5\x2f\xfd" + bytes(60), "Image: is compressed by zstd; unpack it first"),
        (b"BZh91AY" + bytes(60), "Image: is compressed by bzip2; unpack it first"),
        (zboot(b"", "gzip", size=5), "Image: is a truncated EFI image: 0x45 bytes are needed, it has 0x40"),
        (zboot(gzip.compress(image())[:-1], "gzip"), "Image: is a truncated gzip-compressed EFI image"),
        (zboot(lzma.compress(image())[:-1], "xzkern"), "Image: is a truncated xz-compressed EFI image"),
        (
            zboot(b"packed", "zstd22"),
            "Image: is an EFI image compressed by 'zstd22', not by gzip or xz; unpack the kernel in it first",
        ),
        (
            zboot(b"packed", "xzkern"),
            "Image: is not a sound xz-compressed EFI image: Input format not supported by decoder",
        ),
        (zboot(gzip.compress(bytes(SIZE + 1)), "gzip"), "Image: is larger than guest memory (0x400000 bytes)"),
        (efi_image(0x1000)[:-1], "Image: the arm64 Image is truncated: 0x1000 bytes are needed, it has 0xfff"),
        (efi_image(0x1000)[:0x50], "Image: the arm64 Image is truncated: 0x58 bytes are needed, it has 0x50"),
        (efi_image(0x1000)[:0x60], "Image: the arm64 Image is truncated: 0xa8 bytes are needed, it has 0x60"),
        (gzip.compress(efi_image(0x1000)[:-1]), "Image: the arm64 Image is truncated: 0x1000 bytes are needed, it has 0xfff"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_why_in_one_line(file: Path, memory: GuestMemory, content: bytes, line: str) -> None:
    file.write_bytes(content)
    assert refusal(file, memory) == line


def test_a_damaged_gzip_file(file: Path, memory: GuestMemory) -> None:
    file.write_bytes(gzip.compress(b"x" * 100)[:10] + b"\xff" * 20)
    with pytest.raises(LoadError, match=r"^Image: is not a sound gzip file: .*$"):
        load(file, memory)


def test_an_arm64_image_is_not_for_other_architectures(file: Path, memory: GuestMemory) -> None:
    file.write_bytes(image())
    assert refusal(file, memory, machine=X86_64) == "Image: is an arm64 Linux kernel (Image)"


def test_what_is_no_file(file: Path, memory: GuestMemory) -> None:
    assert refusal(file, memory) == "Image: No such file or directory"
    file.mkdir()
    assert refusal(file, memory) == "Image: is a directory"
    file.rmdir()
    os.mkfifo(file)
    assert refusal(file, memory) == "Image: is not a regular file"


def test_a_machine_without_memory(file: Path) -> None:
    file.write_bytes(b"x")
    assert refusal(file, GuestMemory()) == "Image: is larger than guest memory (0x0 bytes)"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100), st.integers(0, 100), st.booleans())
def test_any_bytes_load_or_are_a_load_error(file: Path, memory: GuestMemory, noise: bytes, length: int, packed: bool) -> None:
    content = gzip.compress(image()) if packed else image()
    file.write_bytes(content[:length] + noise)
    assert len(outcome(file, memory).splitlines()) == 1
