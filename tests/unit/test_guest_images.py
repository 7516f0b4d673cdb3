"""The committed guest images are exactly what their sources build, wherever those lie."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

GUESTS = Path(__file__).resolve().parents[2] / "examples" / "guests"
IMAGES = GUESTS / "images"
NAMES = sorted(path.stem for path in GUESTS.glob("*.c"))


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All guests, built from a copy of the sources in another directory, with an empty compiler cache."""
    elsewhere = tmp_path_factory.mktemp("another checkout")
    sources = elsewhere / "sources"
    shutil.copytree(GUESTS, sources, ignore=shutil.ignore_patterns("images", "__pycache__"))
    output = elsewhere / "built"
    subprocess.run(
        [sys.executable, sources / "build.py", "--output", output],
        check=True,
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": os.fspath(elsewhere / "cache")},
        timeout=300,
    )
    return output


def test_there_is_an_image_for_every_guest_and_no_other() -> None:
    assert sorted(path.stem for path in IMAGES.glob("*.img")) == NAMES
    assert "hello" in NAMES


@pytest.mark.parametrize("name", [*(f"{name}.img" for name in NAMES), "hello.elf"])
def test_the_committed_file_is_what_the_sources_build(rebuilt: Path, name: str) -> None:
    assert (rebuilt / name).read_bytes() == (IMAGES / name).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_image_has_an_arm64_header(name: str) -> None:
    image = (IMAGES / f"{name}.img").read_bytes()
    code0, _code1, text_offset, image_size, flags = struct.unpack_from("<IIQQQ", image)
    assert code0 >> 26 == 0b000101, "the first word is a branch"
    assert image[56:60] == b"ARM\x64"
    assert text_offset == 0x80000
    assert image_size >= len(image)
    assert flags == 0b0010, "little endian, 4 KiB pages"


@pytest.mark.parametrize("name", NAMES)
def test_the_image_is_small_and_tells_nothing_of_where_it_was_built(name: str) -> None:
    image = (IMAGES / f"{name}.img").read_bytes()
    assert len(image) < 16384
    assert b".zig" not in image
    assert b"/home" not in image
    assert b"/tmp" not in image
