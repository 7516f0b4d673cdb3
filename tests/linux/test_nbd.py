"""Linux on a disk of an NBD server: a format of its own, and a server that goes away."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.linux.conftest import Linux
from tests.unit.virtio.nbd.test_servers import nbdkit, qemu_nbd

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("mkfs.ext4", "qemu-nbd", "nbdkit"))),
    reason="e2fsprogs, qemu-utils or nbdkit is missing (Debian: apt-get install e2fsprogs qemu-utils nbdkit)",
)


async def test_ext4_in_a_qcow2_image(linux: Linux, tmp_path: Path) -> None:
    raw, image = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    for command in (
        ["truncate", "-s", "32M", str(raw)],
        ["mkfs.ext4", "-q", str(raw)],
        ["qemu-img", "convert", "-O", "qcow2", str(raw), str(image)],
    ):
        subprocess.run(command, check=True)
    with qemu_nbd(tmp_path, image, "-f", "qcow2") as uri:
        async with linux.boot("--disk", uri, append="quiet") as guest:
            await guest.shell()
            await guest.output("mount -t ext4 /dev/vda /mnt && seq 100000 >/mnt/numbers && sync && umount /mnt")
            assert await guest.power_off() == 0
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(image), str(raw)], check=True)
    subprocess.run(["e2fsck", "-fn", str(raw)], check=True, capture_output=True)
    numbers = subprocess.run(["debugfs", "-R", "cat numbers", str(raw)], check=True, capture_output=True).stdout
    assert numbers == b"".join(b"%d\n" % n for n in range(1, 100_001))


async def test_a_server_that_goes_costs_requests_and_not_the_machine(linux: Linux, tmp_path: Path) -> None:
    with nbdkit(tmp_path, "memory", "8M") as served:
        async with linux.boot("--disk", f"{served},reconnect=0", append="quiet") as guest:
            await guest.shell()
            read = "dd if=/dev/vda of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null"
            await guest.output(read)
            served.process.kill()
            # That is told on the same terminal: the guest is quiet until then, or it could be in the midst of a line of its own.
            await guest.expect("disk's server lost.*\n")
            assert (await guest.run(read)).status == 1
            assert await guest.output("echo alive") == "alive\n"
            guest.type("poweroff -f")
            assert await guest.ended() == 0
        assert guest.text.count("disk's server lost") == 1
