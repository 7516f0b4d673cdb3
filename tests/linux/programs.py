"""Our own programs for the guest, and how they get into it."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import ziglang

from avmm.fetch.cpio import CpioWriter

HERE = Path(__file__).parent / "guest"
HEADERS = Path(ziglang.__file__).parent / "lib" / "libc" / "include"
FLAGS = [
    "-target", "aarch64-linux-none",
    "-isystem", str(HEADERS / "aarch64-linux-any"), "-isystem", str(HEADERS / "any-linux-any"),
    "-std=c23", "-O2", "-Wall", "-Wextra", "-Werror",
    "-ffreestanding", "-fno-builtin", "-nostdlib", "-static", "-fno-pic", "-fno-pie",
    "-fno-sanitize=all", "-fno-stack-protector", "-mno-outline-atomics",
]  # fmt: skip


def build(name: str, folder: Path) -> bytes:
    """The static AArch64 program made of guest/`name`.c; no C library, so that it is there in a blink."""
    out = folder / name
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, f"{name}.c", "-o", str(out)]
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig")}
    subprocess.run(command, cwd=HERE, env=environment, check=True, timeout=120)
    return out.read_bytes()


def initrd_with(initrd: Path, programs: dict[str, bytes], output: Path) -> Path:
    """`initrd` with further programs in /usr/local/bin: a second archive behind the first, as the kernel takes them."""
    archive = CpioWriter()
    for name, content in programs.items():
        archive.file(f"usr/local/bin/{name}", content, executable=True)
    output.write_bytes(initrd.read_bytes() + gzip.compress(archive.finish()))
    return output
