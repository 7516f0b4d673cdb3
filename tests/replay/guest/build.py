#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Build the guest that transcripts run.

    python tests/replay/guest/build.py [--output FILE]

The result is one JSON file: the image, in hexadecimal, and where in it each program starts. The same source gives the same
bytes wherever it is built: the compiler is pinned (the ziglang wheel), and nothing of the machine, the clock or the path goes
into the file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from elftools.elf.elffile import ELFFile

ZIG_VERSION = "0.17.1"
RAM_BASE = 0x4000_0000
HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parents[2] / "arch" / "avmm_arm64" / "kvm_guest.json"
FLAGS = [
    "-target", "aarch64-freestanding-none",
    "-mcpu=generic",
    "-g0",
    "-Wall", "-Wextra", "-Werror",
    "-nostdlib", "-static", "-fno-pic", "-fno-pie",
    "-Wl,--build-id=none", "-Wl,-T,guest.ld", "-Wl,-z,max-page-size=4096",
]  # fmt: skip


def build() -> str:
    """The guest as JSON text."""
    with tempfile.TemporaryDirectory() as directory:
        elf = Path(directory, "guest.elf")
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "programs.S", "-o", str(elf)]
        subprocess.run(command, cwd=HERE, check=True)
        with elf.open("rb") as file:
            parsed = ELFFile(file)
            text = parsed.get_section_by_name(".text")
            symbols = parsed.get_section_by_name(".symtab").iter_symbols()
            programs = {
                symbol.name: symbol["st_value"] - RAM_BASE
                for symbol in symbols
                if symbol["st_info"]["bind"] == "STB_GLOBAL" and symbol.name != "_start"
            }
            data: bytes = text.data()
    ordered = dict(sorted(programs.items(), key=lambda item: item[1]))
    return json.dumps({"programs": ordered, "image": data.hex()}, indent=1) + "\n"


def check_compiler() -> None:
    """Refuse any other compiler than the one the committed file was built with."""
    command = [sys.executable, "-m", "ziglang", "version"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if found != ZIG_VERSION:
        raise SystemExit(f"ziglang {ZIG_VERSION} is needed (pip install ziglang=={ZIG_VERSION}), found {found!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the guest that transcripts run.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    check_compiler()
    arguments.output.write_text(build())
    print(f"{arguments.output}  {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
