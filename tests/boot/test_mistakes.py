"""What cannot be started is one clear line of `avmm run`, whatever is wrong with it."""

from __future__ import annotations

import gzip
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avmm.cli.main import main

HELLO = Path(__file__).parents[2] / "examples/guests/images/hello.img"


MEMORY = "guest memory (0x40000000-0x43ffffff)"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """`avmm run` in a folder of its own: its exit status, and what it wrote to standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["run", *arguments])
        return status, *capfd.readouterr()

    with open(os.devnull) as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        yield run


def image(*, flags: int = 0b1010, size: int = 0x1000, pe: bool = False) -> bytes:
    """The start of an arm64 Image; with `pe`, of one whose EFI stub says that it has a megabyte more."""
    header = struct.pack("<IIQQQQQQ4sI", 0x14000010, 0, 0, size, flags, 0, 0, 0, b"ARM\x64", 0x40 if pe else 0)
    section = struct.pack("<8sIIIIIIHHI", b".text", 0, 0, 1 << 20, 0x1000, 0, 0, 0, 0, 0)
    return header + b"PE\0\0" + struct.pack("<HHIIIHH", 0xAA64, 1, 0, 0, 0, 0, 0) + section


def elf(machine: int) -> bytes:
    return struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, machine, 1, 0, 64, 0, 0, 64, 56, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "kernel: No such file or directory"),
        (b"", "kernel: is empty"),
        (image(pe=True), "kernel: the arm64 Image is truncated: 0x101000 bytes are needed, it has 0x80"),
        (gzip.compress(image())[:-9], "kernel: is a truncated gzip file"),
        (image(flags=0b1011), "kernel: the arm64 Image is big-endian, not little-endian"),
        (bytes(0x202) + b"HdrS", "kernel: is an x86 Linux kernel (bzImage)"),
        (bytes(0x24) + b"\x18\x28\x6f\x01", "kernel: is a 32-bit ARM Linux kernel (zImage)"),
        (elf(62), "kernel: the ELF file is for x86-64, not for AArch64"),
        (
            image(size=1 << 30),
            f"kernel: the arm64 Image needs 0x40000000 bytes at 0x40000000, which {MEMORY} does not have",
        ),
    ],
)
def test_a_kernel_that_cannot_be(run: Run, tmp_path: Path, content: bytes | None, line: str) -> None:
    if content is not None:
        (tmp_path / "kernel").write_bytes(content)
    assert run("--kernel", "kernel", "--memory", "64M") == (1, "", f"avmm: {line}\n")


def nothing(path: Path) -> None:
    """Leave it missing."""


def large(path: Path) -> None:
    path.touch()
    os.truncate(path, 64 << 20)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (nothing, "initrd: No such file or directory"),
        (Path.mkdir, "initrd: is not a regular file"),
        (Path.touch, "initrd: is empty"),
        (large, "initrd: 0x4000000 bytes do not fit into guest memory between the image's end at "),
    ],
)
def test_an_initrd_that_cannot_be(run: Run, tmp_path: Path, make: Callable[[Path], None], line: str) -> None:
    make(tmp_path / "initrd")
    status, said, complaint = run("--kernel", str(HELLO), "--initrd", "initrd", "--memory", "64M")
    assert (status, said, complaint.count("\n")) == (1, "", 1)
    assert complaint.startswith(f"avmm: {line}")


def test_a_device_tree_that_grows_too_large(run: Run, tmp_path: Path) -> None:
    (tmp_path / "machine.toml").write_text(f'kernel = "{HELLO}"\nappend = "{"x" * (2 << 20)}"\n')
    status, said, complaint = run("machine.toml")
    assert (status, said, complaint.count("\n")) == (1, "", 1)
    assert complaint.startswith("avmm: the device tree has 20")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--firmware", "none"), "none: No such file or directory"),
        (("--firmware", "."), ".: is not a regular file"),
        (("--firmware", "empty"), "empty: is empty"),
        (("--firmware", "elf"), "the firmware is an ELF file, not the flat image that flash has to hold"),
        (("--firmware", "large"), "large: has 0x4000001 bytes, more than the flash's 0x4000000"),
        (("--firmware", "code", "--nvram", "large"), "large: has 0x4000001 bytes, more than the flash's 0x4000000"),
        (("--firmware", "code", "--nvram", "no/vars"), "no/vars: No such file or directory"),
        (("--firmware", "code", "--kernel", "none"), "none: No such file or directory"),
        (("--firmware", "code", "--initrd", "none"), "none: No such file or directory"),
        (("--nvram", "vars", "--kernel", "code"), "--nvram: nvram: there is no firmware whose variables it could keep"),
    ],
)
def test_firmware_that_cannot_be(run: Run, tmp_path: Path, arguments: tuple[str, ...], line: str) -> None:
    (tmp_path / "code").write_bytes(b"code")
    (tmp_path / "elf").write_bytes(elf(183))
    (tmp_path / "empty").touch()
    large(tmp_path / "large")
    os.truncate(tmp_path / "large", (64 << 20) + 1)
    assert run(*arguments) == (1, "", f"avmm: {line}\n")


def test_firmware_without_flash(run: Run, tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(b"code")
    (tmp_path / "machine.toml").write_text('firmware = "code"\ndefault_devices = false\n')
    complaint = "avmm: no flash at 0x0, where firmware starts: give it one, or leave it the usual devices\n"
    assert run("machine.toml") == (1, "", complaint)
