"""Guest speed: the same images on avmm and on QEMU's emulator, in turn, by the guests' own count of time."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

from tests.benchmarks.table import Row, at_least

IMAGES = Path(__file__).parents[2] / "examples" / "guests" / "images"
PAIRS = 3
RATE = re.compile(r"(\d+) \w+, (\d+) ticks of (\d+) Hz")


def on_avmm(guest: str) -> list[str]:
    """The command that runs a guest on avmm."""
    return [sys.executable, "-m", "avmm.cli", "run", "--kernel", str(IMAGES / f"{guest}.img"), "--memory", "128M"]


def on_qemu(guest: str) -> list[str]:
    """The command that runs it on QEMU."""
    machine = ["-M", "virt,gic-version=3", "-cpu", "cortex-a57", "-m", "128M", "-nographic", "-no-reboot"]
    return ["qemu-system-aarch64", *machine, "-kernel", str(IMAGES / f"{guest}.img")]


def rate(command: list[str]) -> float:
    """Operations a second of guest time, as the guest says."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=True)
    found = RATE.search(done.stdout)
    assert found is not None, done.stdout
    count, ticks, hertz = map(int, found.groups())
    return count * hertz / ticks


def _pairs(guest: str) -> tuple[float, float]:
    """Medians of both, each pair run one after the other."""
    ours, theirs = zip(*[(rate(on_avmm(guest)), rate(on_qemu(guest))) for _ in range(PAIRS)], strict=True)
    return median(ours), median(theirs)


def run() -> list[Row]:
    """All figures of this file."""
    if shutil.which("qemu-system-aarch64") is None:
        return [
            Row(f"{guest}: MIPS" if "mmio" not in guest else "MMIO", f"{rate(on_avmm(guest)) / 1e6:,.0f}", "no QEMU here")
            for guest in ("bench_alu", "bench_mem")
        ]
    rows = []
    for guest, what, limit in (("bench_alu", "ALU loop", 0.9), ("bench_mem", "memory and branch loop", 1.0)):
        ours, theirs = _pairs(guest)
        rows.append(at_least(f"guest, {what}", ours / 1e6, theirs / 1e6, limit, "MIPS", "QEMU"))
    ours, theirs = _pairs("bench_mmio")
    rows.append(Row("guest, reads of the PL011 that trap, in Python", f"{ours:,.0f} /s", f"QEMU, in C {theirs:,.0f} /s"))
    ours, theirs = _pairs("bench_hvc")
    rows.append(Row("guest, PSCI_VERSION by HVC, in Python", f"{ours:,.0f} /s", f"QEMU, in C {theirs:,.0f} /s"))
    return rows
