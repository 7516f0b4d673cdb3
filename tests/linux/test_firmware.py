"""Debian's U-Boot and UEFI come up from flash, keep what they are told to keep, and start Debian's kernel."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.linux.conftest import Linux
from tests.linux.console import TROUBLE, Console, running

U_BOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
UEFI = Path("/usr/share/AAVMF/AAVMF_CODE.fd")
_PACKAGES = {U_BOOT: "u-boot-qemu", UEFI: "qemu-efi-aarch64"}
_RUN = 'run="uname -r; nproc; ls -1 /sys/firmware; cd /proc/device-tree; ls -1d flash* fw-cfg*"'


def firmware(path: Path) -> str:
    if not path.exists():
        pytest.skip(f"no {path}: Debian has it in {_PACKAGES[path]}")
    return str(path)


async def u_boot_prompt(guest: Console) -> None:
    """Stop U-Boot from booting anything, and wait for its prompt."""
    await guest.expect("Hit any key to stop autoboot")
    guest.type("")
    await guest.expect("^=> ")


async def test_u_boot_answers_and_keeps_its_environment(tmp_path: Path) -> None:
    machine = ("--firmware", firmware(U_BOOT), "--nvram", str(tmp_path / "flash"))
    async with running(*machine) as guest:
        await guest.expect("^Flash: 64 MiB$")
        await guest.expect("Warning - bad CRC, using default environment")
        await u_boot_prompt(guest)
        guest.type("echo $((6 * 7)); setexpr answer 6 * 7; echo answer $answer")
        await guest.expect("^answer 2a$")
        guest.type("setenv greeting hello; saveenv")
        await guest.expect(r"Writing to Flash\.\.\. .*done")
        guest.type("reset")
        await guest.expect("^Loading Environment from Flash... OK$")
        await u_boot_prompt(guest)
        guest.type("poweroff")
        assert await guest.ended() == 0
    async with running(*machine) as guest:
        await u_boot_prompt(guest)
        guest.type("printenv greeting")
        await guest.expect("^greeting=hello$")
        guest.type("poweroff")
        assert await guest.ended() == 0


async def test_u_boot_starts_the_kernel_it_is_given(linux: Linux) -> None:
    async with linux.boot("--firmware", firmware(U_BOOT), "--smp", "2", append=_RUN) as guest:
        assert await guest.ended() == 0
    assert re.search(r"^U-Boot \d{4}\.", guest.text, re.MULTILINE)
    assert "Starting kernel ..." in guest.text
    assert f"{linux.release}\n2\ndevicetree\nfdt\nflash@0\nfw-cfg@9020000\n" in guest.text
    assert not TROUBLE.search(guest.text)


def bootable_disk(folder: Path, linux: Linux, append: str) -> Path:
    """A disk with one partition of ext4, from which U-Boot starts `linux`."""
    files, image = folder / "files", folder / "disk.img"
    (files / "extlinux").mkdir(parents=True)
    (files / "extlinux/extlinux.conf").write_text(f"label debian\nkernel /vmlinuz\ninitrd /initrd.gz\nappend {append}\n")
    shutil.copy(linux.kernel, files / "vmlinuz")
    shutil.copy(linux.initrd, files / "initrd.gz")
    with image.open("wb") as disk:
        disk.truncate(64 << 20)
        disk.seek(446)  # the first entry of the partition table: bootable, Linux, from 1 MiB to the end
        disk.write(struct.pack("<B3sB3sII", 0x80, b"", 0x83, b"", 2048, 63 * 2048))
        disk.seek(510)
        disk.write(b"\x55\xaa")
    subprocess.run(["mkfs.ext4", "-q", "-E", "offset=1048576", "-d", files, image, "63M"], check=True, timeout=60)
    return image


@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is missing (Debian: apt-get install e2fsprogs)")
async def test_u_boot_starts_the_kernel_on_a_disk(linux: Linux, tmp_path: Path) -> None:
    disk = bootable_disk(tmp_path, linux, 'console=ttyAMA0 run="uname -r; cat /sys/block/vda/size"')
    async with running("--firmware", firmware(U_BOOT), "--disk", str(disk), "--memory", "512M") as guest:
        assert await guest.ended() == 0
    assert "Retrieving file: /vmlinuz" in guest.text
    assert f"{linux.release}\n131072\nrun: exit status 0\n" in guest.text
    assert not TROUBLE.search(guest.text)


async def shell(guest: Console, line: str) -> str:
    """What UEFI's shell says to `line`."""
    assert guest.process.stdin is not None
    before = len(guest.text)
    guest.process.stdin.write(line.encode() + b"\r")
    await guest.expect(r"Shell> ")
    return guest.text[before:]


async def test_uefi_comes_to_its_shell_and_keeps_its_variables(tmp_path: Path) -> None:
    machine = ("--firmware", firmware(UEFI), "--nvram", str(tmp_path / "vars"), "--memory", "512M")
    greeting = "setvar Greeting -guid 01234567-89ab-cdef-0123-456789abcdef"
    for first in (True, False):
        async with running(*machine) as guest:
            await guest.expect("UEFI Interactive Shell v2")
            await guest.expect("to skip")
            assert guest.process.stdin is not None
            guest.process.stdin.write(b"\x1b")
            await guest.expect(r"Shell> ")
            if first:
                assert "Unable to get" in await shell(guest, greeting)
                assert "Unable" not in await shell(guest, f'{greeting} -nv -bs =S"hello"')
            else:
                assert "68 65 6C 6C 6F" in await shell(guest, greeting)
            guest.process.stdin.write(b"reset -s\r")
            assert await guest.ended() == 0


async def test_uefi_has_a_boot_manager() -> None:
    async with running("--firmware", firmware(UEFI), "--memory", "512M") as guest:
        await guest.expect("to skip")
        assert guest.process.stdin is not None
        guest.process.stdin.write(b"\x1b")
        await guest.expect(r"Shell> ")
        guest.process.stdin.write(b"exit\r")
        await guest.expect("Boot Maintenance Manager")


async def test_uefi_starts_the_kernel_it_is_given(linux: Linux) -> None:
    async with linux.boot("--firmware", firmware(UEFI), "--smp", "2", append=_RUN) as guest:
        assert await guest.ended() == 0
    assert "EFI stub: Booting Linux Kernel..." in guest.text
    assert f"{linux.release}\n2\ndevicetree\nefi\nfdt\nflash@0\nfw-cfg@9020000\n" in guest.text
    assert not TROUBLE.search(guest.text)
