"""The small initramfs: busybox, a script that starts it, and the kernel's modules for the devices there can be."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from importlib.resources import files

from avmm.fetch.cpio import CpioWriter
from avmm.fetch.modules import alias_list, dependency_list, select

MODULES = (
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "virtio_balloon",
    "vmw_vsock_virtio_transport",
    "ext4",
    "crc32c_generic",
    "af_packet",
    "pl031",
    "rtc_pl031",
)
"""By name, with all they depend on, unless the kernel has them built in."""
POWER_BUTTON_MODULES = ("gpio_keys", "evdev")
"""What it takes to hear of the power button, in kernels that have a driver for it."""

MOTD = """
This is Linux on avmm: a shell of busybox. Type `poweroff` (or leave the shell) to end, `reboot` to start again;
Ctrl-A x switches the machine off, Ctrl-A h says what else there is.

"""
PROFILE = """\
export PS1='\\h:\\w\\$ '
# There is no service to stop: off means off.
alias poweroff='poweroff -f' reboot='reboot -f' halt='halt -f'
"""
_FOLDERS = (
    "proc",
    "sys",
    "dev",
    "tmp",
    "root",
    "mnt",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "usr/local/bin",
    "usr/local/sbin",
    "var/run",
    "var/log",
)


def build_initramfs(release: str, busybox: bytes, modules: Mapping[str, bytes], wanted: Sequence[str] = MODULES) -> bytes:
    """The initramfs for the kernel `release`, with those `wanted` of its modules by path below its folder."""
    archive = CpioWriter()
    for folder in _FOLDERS:
        archive.folder(folder)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox, executable=True)
    archive.file("init", script("init.sh"), executable=True)
    archive.file("etc/udhcpc.sh", script("udhcpc.sh"), executable=True)
    # Where acpid(8) of busybox looks.
    archive.file("etc/acpi/PWRF/00000080", script("power_button.sh"), executable=True)
    archive.file("etc/motd", MOTD.encode())
    archive.file("etc/profile", PROFILE.encode())
    archive.file("etc/passwd", b"root::0:0:root:/root:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    archive.link("etc/mtab", "/proc/mounts")
    selected = select(wanted, modules)
    for module in selected.values():
        archive.file(f"lib/modules/{release}/{module.path}", module.content)
    archive.file(f"lib/modules/{release}/modules.dep", dependency_list(selected).encode())
    archive.file(f"lib/modules/{release}/modules.alias", alias_list(selected).encode())
    return gzip.compress(archive.finish(), mtime=0)


def script(name: str) -> bytes:
    """A script that comes with this package."""
    return (files("avmm.fetch") / name).read_bytes()
