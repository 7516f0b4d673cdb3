"""The flash's file, and the flash on a machine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from avmm.clock import VirtualClock
from avmm.plugin import ConfigError, Console, DeviceLock, DeviceOptions, LoadError, Width
from avmm_firmware import FlashDevice, create_flash
from avmm_firmware.cfi import SECTOR_SIZE
from avmm_firmware.flash_device import BANK_SIZE
from avmm_firmware.flash_file import FlashFile


def options(**table: object) -> DeviceOptions:
    lock = DeviceLock()
    return DeviceOptions("flash0", VirtualClock(), lock, Console(lock), options=table)


def create(**table: object) -> FlashDevice:
    device = create_flash(options(**table))
    assert isinstance(device, FlashDevice)
    return device


def cycles(device: FlashDevice, offset: int, *values: int) -> None:
    for value in values:
        device.write(offset, Width.W32, value)


def program(device: FlashDevice, offset: int, word: int) -> None:
    cycles(device, offset, 0x20, 0xD0, 0x40, word, 0xFF)


def test_a_bank_of_64_mib_that_is_empty() -> None:
    device = create()
    assert device.size == BANK_SIZE == 64 << 20
    assert device.read(0, Width.W64) == device.read(BANK_SIZE - 8, Width.W64) == 0
    program(device, 0, 0x1234_5678)
    assert device.read(0, Width.W64) == 0xFFFF_FFFF_1234_5678
    device.close()


def test_what_the_file_holds_is_there_and_the_rest_is_zero(tmp_path: Path) -> None:
    content = b"code" + bytes(100_000) + b"data"
    (tmp_path / "code").write_bytes(content)
    device = create(file=str(tmp_path / "code"), read_only=True)
    assert device._rom.buffer[: len(content) + 8] == content + bytes(8)
    program(device, 0, 0)
    assert device._rom.buffer[:4] == b"code"
    assert (tmp_path / "code").read_bytes() == content
    device.close()


async def test_variables_are_in_the_file_at_once_and_there_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "vars"
    device = create(file=path)
    program(device, SECTOR_SIZE + 8, 0x5A5A_5A5A)
    sector = b"\xff" * 8 + b"\x5a" * 4 + b"\xff" * (SECTOR_SIZE - 12)
    assert path.read_bytes() == bytes(SECTOR_SIZE) + sector, "no more of it than was written"
    await device.quiesce()
    device.close()
    device = create(file=path)
    assert device._rom.buffer[: 3 * SECTOR_SIZE] == bytes(SECTOR_SIZE) + sector + bytes(SECTOR_SIZE)
    device.close()


async def test_it_is_synced_when_the_machine_pauses_if_anything_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = create(file=tmp_path / "vars")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    await device.quiesce()
    assert synced == []
    program(device, 0, 1)
    await device.quiesce()
    await device.quiesce()
    assert len(synced) == 1
    device.close()


def test_a_reset_forgets_the_command_and_keeps_the_contents() -> None:
    device = create()
    program(device, 0, 7)
    cycles(device, 0, 0x90)
    device.reset()
    assert device.read(0, Width.W32) == 7
    assert device._rom.direct
    device.close()


def test_a_file_has_one_machine(tmp_path: Path) -> None:
    device = create(file=tmp_path / "vars")
    with pytest.raises(LoadError, match=r"vars: another machine uses it$"):
        create(file=tmp_path / "vars")
    device.close()
    create(file=tmp_path / "vars").close()


def test_code_may_be_shared(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(b"code")
    devices = [create(file=tmp_path / "code", read_only=True) for _ in range(2)]
    for device in devices:
        device.close()


def test_a_disk_that_is_full_is_an_error_of_the_flash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = create(file=tmp_path / "vars")

    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    cycles(device, 0, 0x40, 1, 0x70)
    assert device.read(0, Width.W16) == 0x90, "ready, and a program error"
    device.close()


def test_writing_goes_on_where_the_host_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = FlashFile(tmp_path / "vars", 1 << 20, read_only=False)
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[:3], offset))
    file.write(5, b"eight bytes")
    file.close()
    assert (tmp_path / "vars").read_bytes() == bytes(5) + b"eight bytes"


@pytest.mark.parametrize("read_only", [False, True])
def test_files_that_cannot_be_used(tmp_path: Path, read_only: bool) -> None:
    with pytest.raises(LoadError, match=f"^{tmp_path}: (Is a directory|is not a regular file)$"):
        create(file=tmp_path, read_only=read_only)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadError, match=r"pipe: is not a regular file$"):
        create(file=tmp_path / "pipe", read_only=read_only)
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", BANK_SIZE + 1)
    with pytest.raises(LoadError, match=r"large: has 0x4000001 bytes, more than the flash's 0x4000000$"):
        create(file=tmp_path / "large", read_only=read_only)


def test_code_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"none: No such file or directory$"):
        create(file=tmp_path / "none", read_only=True)
    (tmp_path / "empty").touch()
    with pytest.raises(LoadError, match=r"empty: is empty$"):
        create(file=tmp_path / "empty", read_only=True)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"size": 1}, "devices.flash0.size: no such setting of a cfi-flash; there are file, read_only"),
        ({"file": 3}, "devices.flash0.file: 3 is not the path of a file"),
        ({"file": ""}, "devices.flash0.file: '' is not the path of a file"),
        ({"read_only": 1}, "devices.flash0.read_only: 1 is not true or false"),
    ],
)
def test_settings(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        create_flash(replace(options(), options=table))


def test_figures() -> None:
    device = create()
    program(device, 0, 1)
    cycles(device, 0, 0x20, 0xFF)
    assert [value for _, value in device.figures()] == [1, 4, 1, 0]
    device.close()
