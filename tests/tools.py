"""Install the Debian programs some tests use, where that is possible; each test that misses one says so when it skips."""

import os
import shutil
import subprocess
import sys

FILES = {
    "/usr/lib/u-boot/qemu_arm64/u-boot.bin": "u-boot-qemu",
    "/usr/share/AAVMF/AAVMF_CODE.fd": "qemu-efi-aarch64",
}
PROGRAMS = {
    "chromium": "chromium",
    "promtool": "prometheus",
    "dtc": "device-tree-compiler",
    "passt": "passt",
    "mkfs.ext4": "e2fsprogs",
    "nbdkit": "nbdkit",
    "qemu-nbd": "qemu-utils",
}


def main() -> None:
    """Install what is missing, as root on a machine with apt; else say what is missing."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    missing += [package for file, package in FILES.items() if not os.path.exists(file)]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"tests that need {', '.join(missing)} will be skipped: install them to run those too", file=sys.stderr)
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]):
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
