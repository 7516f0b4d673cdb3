#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Build the bare-metal AArch64 guests.

    python examples/guests/build.py [--output DIR] [GUEST ...]

A guest is one file here, linked with those of a folder of its name, if there is one, and with runtime/. The
result is GUEST.img, a flat arm64 Image, and GUEST.elf.
The same sources give the same bytes wherever they are built: the compiler is pinned (the ziglang wheel),
and nothing of the machine, the clock or the path goes into a file.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
from pathlib import Path

ZIG_VERSION = "0.17.1"

HERE = Path(__file__).resolve().parent
RUNTIME = HERE / "runtime"

FLAGS = [
    "-target", "aarch64-freestanding-none",
    "-mcpu=generic-neon-fp_armv8",  # exceptions save no vector registers
    "-std=c23",
    "-Os",
    "-g0",
    "-Wall", "-Wextra", "-Werror",
    "-ffreestanding", "-fno-builtin", "-nostdlib",
    "-fno-pic", "-fno-pie",
    "-fno-sanitize=all", "-fno-stack-protector", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables",
    "-ffunction-sections", "-fdata-sections",
    "-mstrict-align",       # with the MMU off all memory is Device memory, which takes no unaligned access
    "-mno-outline-atomics",
    "-static",
    "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,--strip-all", "-Wl,-z,max-page-size=4096",
]  # fmt: skip


def guest_names() -> list[str]:
    """All guests: the C files next to this script, without their suffix."""
    return sorted(path.stem for path in HERE.glob("*.c"))


def sources(guest: str) -> list[Path]:
    """Its own file first, then those of the folder of its name, then the runtime's."""
    return [HERE / f"{guest}.c", *sorted((HERE / guest).glob("*.c")), *sorted(RUNTIME.glob("*.[cS]"))]


def build(guest: str, output: Path) -> tuple[Path, Path]:
    """Build one guest into `output`; return the flat image and the ELF file."""
    elf = output / f"{guest}.elf"
    image = output / f"{guest}.img"
    # Relative paths and a fixed directory: the command line is the same in every checkout.
    files = [path.relative_to(HERE).as_posix() for path in sources(guest)]
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-Iruntime", "-Wl,-T,guest.ld", *files]
    subprocess.run([*command, "-o", os.fspath(elf.resolve())], cwd=HERE, check=True)
    image.write_bytes(flatten(elf.read_bytes()))
    return image, elf


def flatten(elf: bytes) -> bytes:
    """The bytes of the one loadable segment of a 64-bit little-endian ELF file."""
    (program_headers,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    loads = []
    for index in range(count):
        kind, _flags, offset, _vaddr, _paddr, file_size = struct.unpack_from("<IIQQQQ", elf, program_headers + index * size)
        if kind == 1:  # PT_LOAD
            loads.append(elf[offset : offset + file_size])
    if len(loads) != 1:
        raise SystemExit(f"expected one loadable segment, found {len(loads)}")
    return loads[0]


def check_compiler() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "ziglang", "version"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if found != ZIG_VERSION:
        raise SystemExit(f"ziglang {ZIG_VERSION} is needed (pip install ziglang=={ZIG_VERSION}), found {found!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the bare-metal AArch64 guests.")
    parser.add_argument("guests", nargs="*", metavar="GUEST", help=f"of {', '.join(guest_names())}; default: all")
    parser.add_argument("--output", type=Path, default=HERE / "images", help="directory (default: images)")
    arguments = parser.parse_args()
    unknown = set(arguments.guests) - set(guest_names())
    if unknown:
        parser.error(f"no such guest: {', '.join(sorted(unknown))}")
    check_compiler()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for guest in arguments.guests or guest_names():
        image, _elf = build(guest, arguments.output)
        print(f"{image}  {image.stat().st_size} bytes")


if __name__ == "__main__":
    main()
