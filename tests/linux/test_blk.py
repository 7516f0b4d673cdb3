"""Linux's virtio-blk driver, with ext4 on it: all is there after a reboot, and what was fsynced even after a kill -9."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.linux.conftest import Linux

pytestmark = pytest.mark.skipif(
    shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is missing (Debian: apt-get install e2fsprogs)"
)

RECORD = 4096


def host(*command: str, status: int = 0) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == status, (command, done.stdout, done.stderr)
    return done.stdout


def ext4(path: Path, size: str = "64M") -> Path:
    """An image with an empty file system."""
    host("truncate", "-s", size, str(path))
    host("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(path))
    return path


def is_clean(path: Path) -> None:
    host("e2fsck", "-fn", str(path))


async def test_files_are_there_after_a_reboot(linux: Linux, tmp_path: Path) -> None:
    image = ext4(tmp_path / "disk.img")
    async with linux.boot("--smp", "2", "--disk", f"{image},serial=avmm-0001,queues=2") as guest:
        await guest.shell()
        assert await guest.output(
            "cat /sys/block/vda/serial; echo; ls /sys/block/vda/mq; cat /sys/block/vda/queue/write_cache"
        ) == ("avmm-0001\n0\n1\nwrite back\n")
        await guest.output("mount -t ext4 /dev/vda /mnt")
        # Both CPUs at once, then something they both wait for.
        await guest.output("for n in 1 2 3 4; do cp /bin/busybox /mnt/busybox$n & done; wait; seq 100000 >/mnt/numbers; sync")
        before = await guest.output("cd /mnt && md5sum * 2>/dev/null; cd /")
        assert len(before.splitlines()) == 5
        guest.type("reboot -f")
        await guest.shell()
        await guest.output("mount -t ext4 /dev/vda /mnt")
        assert await guest.output("cd /mnt && md5sum * 2>/dev/null; cd /") == before
        assert await guest.output("cat /proc/interrupts | grep -c virtio") == "1\n"
        await guest.output("umount /mnt")
        assert await guest.power_off() == 0
    is_clean(image)
    assert host("debugfs", "-R", "cat numbers", str(image)) == b"".join(b"%d\n" % n for n in range(1, 100_001))


async def test_discards_zeroes_the_cache_and_a_disk_that_is_only_read(linux: Linux, tmp_path: Path) -> None:
    image, other = ext4(tmp_path / "disk.img"), tmp_path / "other.img"
    other.write_bytes(b"\x55" * (8 << 20))
    async with linux.boot("--disk", f"{other}", "--disk", f"{image},readonly") as guest:
        await guest.shell()
        await guest.output("blkdiscard -o 1048576 -l 1048576 /dev/vda")
        await guest.output("echo 'write through' >/sys/block/vda/queue/write_cache")
        assert await guest.output("cat /sys/block/vda/queue/write_cache /sys/block/vda/queue/write_zeroes_max_bytes") == (
            f"write through\n{2 << 30}\n"
        )
        await guest.output("diskio /dev/vda zero 4194304 2097152")
        assert await guest.output("cat /sys/block/vdb/ro") == "1\n"
        await guest.output("mount -t ext4 -o ro /dev/vdb /mnt && ls /mnt/lost+found")
        assert (await guest.run("touch /mnt/file 2>/dev/null || mount -o remount,rw /mnt 2>/dev/null")).status != 0
        await guest.output("umount /mnt")
        assert (await guest.run("dd if=/dev/zero of=/dev/vdb bs=512 count=1 2>/dev/null")).status != 0
        assert await guest.power_off() == 0
    content = other.read_bytes()
    assert content[1 << 20 : 2 << 20] == bytes(1 << 20)
    assert content[4 << 20 : 6 << 20] == bytes(2 << 20)
    assert content.count(0x55) == 5 << 20
    assert other.stat().st_blocks * 512 <= 7 << 20
    is_clean(image)


def record(number: int) -> bytes:
    """What guest/diskio.c writes as its record `number`."""
    first = number * 0x9E37_79B9_7F4A_7C15
    return b"".join(struct.pack("<Q", first + at & 2**64 - 1) for at in range(RECORD // 8))


@pytest.mark.parametrize("after", [1, 40, 150])
async def test_what_was_fsynced_outlives_a_kill(linux: Linux, tmp_path: Path, after: int) -> None:
    """avmm dies in the middle of writes; how far the guest was, its own messages say."""
    image = ext4(tmp_path / "disk.img")
    async with linux.boot("--smp", "2", "--disk", str(image), append="quiet") as guest:
        await guest.shell()
        await guest.output("mount -t ext4 /dev/vda /mnt")
        guest.type("(while true; do cp /bin/busybox /mnt/noise; rm /mnt/noise; done) & diskio /mnt/log log 100000")
        await guest.expect(rf"^synced {after}\n")
        guest.process.kill()
        assert await guest.ended() == -9
        synced = max(int(number) for number in re.findall(r"^synced (\d+)\n", guest.text, re.MULTILINE))
    # The journal is carried out (status 1: the file system was changed by that), and then there is nothing to mend.
    subprocess.run(["e2fsck", "-fp", str(image)], check=False, capture_output=True, timeout=60)
    is_clean(image)
    log = host("debugfs", "-R", "cat log", str(image))
    assert synced >= after
    assert len(log) >= synced * RECORD
    for number in range(1, synced + 1):
        assert log[(number - 1) * RECORD : number * RECORD] == record(number), f"record {number} of {synced}"


async def test_the_same_image_twice_is_one_line(linux: Linux, tmp_path: Path) -> None:
    image = ext4(tmp_path / "disk.img", "4M")
    async with linux.boot("--disk", str(image)) as guest:
        await guest.shell()
        async with linux.boot("--disk", str(image)) as other:
            assert await other.ended() == 1
        why = "somebody else has it open: two machines on one disk would destroy its contents"
        assert other.text == f"avmm: --disk: devices.disk0.file: {image}: {why}\n"
        assert await guest.power_off() == 0
