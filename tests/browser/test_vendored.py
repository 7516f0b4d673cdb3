"""What the page has from others is what their packages hold, to the byte."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from tests.browser.npm import unpacked

VENDOR = files("avmm_control.ui") / "static" / "vendor"


def listed() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """(package, integrity) and its files, here and in the package."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for line in (VENDOR / "VERSIONS.txt").read_text().splitlines()[2:]:
        if line.startswith("    "):
            here, there = line.split()
            found[list(found)[-1]].append((here, there))
        else:
            name, version, integrity, licence = line.split()
            assert licence == "MIT"
            found[f"{name}@{version}", integrity] = []
    return found


def test_every_file_is_listed_with_its_licence() -> None:
    here = {name for pairs in listed().values() for name, _ in pairs}
    assert here | {"VERSIONS.txt"} == {file.name for file in VENDOR.iterdir()}
    assert all(any("LICENSE" in there for _, there in pairs) for pairs in listed().values())


@pytest.mark.parametrize(("package", "integrity"), list(listed()))
def test_the_files_are_the_packages(package: str, integrity: str, tmp_path: Path) -> None:
    content = unpacked(package, tmp_path, integrity)
    for here, there in listed()[package, integrity]:
        assert (VENDOR / here).read_bytes() == (content / there).read_bytes(), here
