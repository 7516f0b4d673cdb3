"""Start and end of the process, around a guest that only says hello."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.linux.guest import Guest
from tests.benchmarks.linux.machines import QEMU
from tests.benchmarks.linux.pairs import beside
from tests.benchmarks.linux.process import Observed, observe
from tests.benchmarks.table import Row

HELLO = str(Path(__file__).parents[3] / "examples/guests/images/hello.elf")
ON_AVMM = [sys.executable, "-m", "avmm.cli", "run", "--kernel", HELLO]
MACHINE = ["-M", "virt,gic-version=3", "-cpu", "cortex-a57", "-m", "256M"]
ON_QEMU = [QEMU, *MACHINE, "-nodefaults", "-serial", "stdio", "-display", "none", "-kernel", HELLO]
REPEATS = 5
"""Such runs are short: several in a round."""


def run(_guest: Guest, rounds: int) -> list[Row]:
    """All figures of this file."""
    turns = [_turn() for _ in range(rounds * REPEATS)]
    what = "start to end of a guest that says hello"
    return [
        beside(what, [(ours.seconds * 1e3, theirs.seconds * 1e3) for ours, theirs in turns], "ms", "QEMU"),
        beside(f"{what}: CPU time", [(one.cpu_seconds * 1e3, other.cpu_seconds * 1e3) for one, other in turns], "ms", "QEMU"),
    ]


def _turn() -> tuple[Observed, Observed]:
    return observe(ON_AVMM), observe(ON_QEMU)
