"""Opening images: what cannot be a disk is one line, and nobody else writes one that is in use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avmm.plugin import ConfigError, GuestMemory
from avmm_virtio import create_blk
from avmm_virtio.block.file import open_image
from tests.unit.virtio.host import device_options

SIZE = 1 << 16


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(SIZE))
    return path


@pytest.mark.parametrize(
    ("size", "error"), [(0, "has 0 bytes"), (511, "has 511 bytes"), (513, "has 513 bytes, which is not a multiple of 512")]
)
def test_a_size_that_no_disk_has(tmp_path: Path, size: int, error: str) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(size))
    with pytest.raises(ValueError, match=error):
        open_image(str(path), read_only=False)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, error in (("nothing", "No such file or directory"), ("fifo", "is no regular file and no block device")):
        with pytest.raises(ValueError, match=f"{name}: {error}"):
            open_image(str(tmp_path / name), read_only=True)
    with pytest.raises(ValueError, match="Is a directory"):
        open_image(str(tmp_path), read_only=False)
    with pytest.raises(ValueError, match="is a folder"):
        open_image(str(tmp_path), read_only=True)


def test_one_that_may_not_be_written_says_what_would_go(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str, flags: int) -> int:  # root may open anything
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ValueError, match=r"disk.img: Permission denied; readonly needs less$"):
        open_image(str(image), read_only=False)
    open_image(str(image), read_only=True).close()


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        ("write", "write", "somebody else has it open"),
        ("read", "write", "somebody else has it open"),
        ("write", "read", "somebody else writes it"),
        ("read", "read", None),
    ],
)
def test_two_machines_do_not_write_one_image(image: Path, first: str, second: str, error: str | None) -> None:
    with open_image(str(image), read_only=first == "read"):
        if error is None:
            open_image(str(image), read_only=second == "read").close()
        else:
            with pytest.raises(ValueError, match=error):
                open_image(str(image), read_only=second == "read")
    open_image(str(image), read_only=second == "read").close()


def test_a_lock_ends_with_its_owner_however_that_ends(image: Path) -> None:
    program = f"""
import os, signal
from avmm_virtio.block.file import open_image
image = open_image({str(image)!r}, read_only=False)
print("open", flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(ValueError, match="somebody else has it open"):
            open_image(str(image), read_only=False)
        process.kill()
    open_image(str(image), read_only=False).close()


@pytest.mark.skipif(shutil.which("qemu-io") is None, reason="qemu-io is missing (Debian: apt-get install qemu-utils)")
def test_qemu_and_we_see_each_others_locks(image: Path) -> None:
    def qemu(*options: str) -> subprocess.CompletedProcess[str]:
        command = ["qemu-io", "-f", "raw", *options, "-c", "read 0 512", str(image)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    with open_image(str(image), read_only=False):
        assert 'Failed to get "write" lock' in qemu().stderr
    with open_image(str(image), read_only=True):
        assert 'Failed to get "write" lock' in qemu().stderr
        assert "read 512/512" in qemu("-r").stdout
    for read_only in (True, False):
        command = ["qemu-io", "-f", "raw", str(image)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("length\n")
            process.stdin.flush()
            while "64 KiB" not in process.stdout.readline():
                pass
            with pytest.raises(ValueError, match="somebody else"):
                open_image(str(image), read_only=read_only)
            process.stdin.close()


@pytest.mark.parametrize(
    ("table", "key", "text"),
    [
        ({}, "file", "missing: an image's path, or an nbd:// or nbd+unix:// URI"),
        ({"file": 5}, "file", "5 is not an image's path"),
        ({"file": ""}, "file", "'' is not an image's path"),
        ({"file": "IMAGE", "queues": 0}, "queues", "0 is not a whole number from 1 to 16"),
        ({"file": "IMAGE", "queues": 17}, "queues", "17 is not"),
        ({"file": "IMAGE", "serial": "x" * 21}, "serial", "is not a text of up to 20 ASCII characters"),
        ({"file": "IMAGE", "serial": "\xe9"}, "serial", "is not a text"),
        ({"file": "IMAGE", "read_only": "yes"}, "read_only", "'yes' is not true or false"),
        ({"file": "IMAGE", "cache": "none"}, "cache", "'none' is not writeback or writethrough"),
        ({"file": "IMAGE", "block_size": 1024}, "block_size", "1024 is not 512 or 4096"),
        ({"file": "IMAGE", "discard": 1}, "discard", "1 is not true or false"),
        ({"file": "IMAGE", "sector": 1}, "sector", "no such setting of a virtio-blk; there are file, read_only"),
        ({"file": "/nothing/there"}, "file", "/nothing/there: No such file or directory"),
    ],
)
def test_a_mistake_in_its_table_is_named(image: Path, table: dict[str, object], key: str, text: str) -> None:
    if table.get("file") == "IMAGE":
        table = {**table, "file": str(image)}
    with pytest.raises(ConfigError) as caught:
        create_blk(device_options(GuestMemory(), table))
    assert caught.value.key == f"devices.testdev.{key}"
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    open_image(str(image), read_only=False).close()


def test_a_number_is_a_serial_number_too(image: Path) -> None:
    create_blk(device_options(GuestMemory(), {"file": image, "serial": 12, "block_size": 4096, "cache": "writethrough"}))
