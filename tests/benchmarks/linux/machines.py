"""How each is told to run the guest: the same kernel, initramfs, command line, memory and CPU."""

from __future__ import annotations

import compileall
import sys
from pathlib import Path
from typing import Literal

from tests.benchmarks.linux.guest import Guest

QEMU = "qemu-system-aarch64"
Threads = Literal["single", "multi"]
QUIET = "quiet"
# Without it QEMU's machine, which offers a seed for that, runs a kernel that moves itself and keeps page tables apart.
COMMON = "console=ttyAMA0 nokaslr"


def compile_sources() -> None:
    """Have the bytecode of avmm's modules cached, as pip does when it installs them."""
    root = Path(__file__).parents[3]
    for folder in ("avmm", "arch", "plugins"):
        compileall.compile_dir(root / folder, quiet=2)


def on_avmm(guest: Guest, vcpus: int, append: str, *options: str, translations: str = "none") -> list[str]:
    """The command that runs it on avmm, with nothing kept from other runs but `translations`, a folder."""
    files = ["--kernel", str(guest.kernel), "--initrd", str(guest.initrd), "--memory", "512M"]
    run = [sys.executable, "-m", "avmm.cli", "run", *files, "--smp", str(vcpus)]
    return [*run, "--translation-cache", translations, "--append", f"{COMMON} {append}", *options]


def on_qemu(guest: Guest, vcpus: int, append: str, *options: str, threads: Threads = "multi") -> list[str]:
    """The command that runs it on QEMU's emulator; its vCPUs on a thread each, or all on one."""
    machine = ["-M", "virt,gic-version=3", "-accel", f"tcg,thread={threads}", "-cpu", "cortex-a57", "-m", "512M"]
    files = ["-kernel", str(guest.kernel), "-initrd", str(guest.initrd)]
    # No more devices than avmm's machine has.
    devices = ["-nodefaults", "-serial", "stdio", "-display", "none", "-no-reboot", "-global", "virtio-mmio.force-legacy=false"]
    return [QEMU, *machine, *files, *devices, "-smp", str(vcpus), "-append", f"{COMMON} {append}", *options]
