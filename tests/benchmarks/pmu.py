"""What the PMU costs a guest: absent, idle, switched off again, and counting, in turn, by the guest's own count of time."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.benchmarks.guests import IMAGES, rate
from tests.benchmarks.table import Row, at_least

ROUNDS = 5
WITHOUT_PMU = "[arch]\npmu = false\n"


def command(append: str, *options: str) -> list[str]:
    """The command that runs the guest."""
    kernel = ["--kernel", str(IMAGES / "bench_pmu.img"), "--memory", "128M", "--append", append]
    return [sys.executable, "-m", "avmm.cli", "run", *kernel, *options]


def run() -> list[Row]:
    """All figures of this file."""
    with tempfile.TemporaryDirectory() as directory:
        machine = Path(directory, "machine.toml")
        machine.write_text(WITHOUT_PMU)
        commands = {
            "absent": command("", str(machine)),
            "idle": command(""),
            "off again": command("once"),
            "cycles": command("cycles"),
            "cycles, memory accesses and branches": command("memory"),
        }
        rates = {name: median(each) for name, each in _in_turn(commands).items()}
    mips = {name: each / 1e6 for name, each in rates.items()}
    absent = mips.pop("absent")
    rows = [
        at_least(f"guest, memory and branch loop, PMU {name}", mips.pop(name), absent, 0.97, "MIPS", "no PMU")
        for name in ("idle", "off again")
    ]
    for name, counting in mips.items():
        rows.append(
            Row(f"guest, the same, counting {name}", f"{counting:,.0f} MIPS", f"no PMU {absent:,.0f} MIPS", counting / absent)
        )
    return rows


def _in_turn(commands: dict[str, list[str]]) -> dict[str, list[float]]:
    """One run of each after the other, so that a slow moment of the host is nobody's alone."""
    rates: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, one in commands.items():
            rates[name].append(rate(one))
    return rates
