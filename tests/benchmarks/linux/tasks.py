"""Two tasks on two vCPUs: how much sooner they are done at once than one after the other."""

from __future__ import annotations

from tests.benchmarks.linux.guest import Guest
from tests.benchmarks.linux.machines import QUIET, on_avmm, on_qemu
from tests.benchmarks.linux.pairs import Pair, at_least, beside
from tests.benchmarks.linux.process import observe
from tests.benchmarks.table import Row

RUN = f'{QUIET} run="tasks"'
LOADS = {"sha256sum": "sha256sum", "work": "branches and memory, in C", "shell": "a shell that starts programs"}


def run(guest: Guest, rounds: int) -> list[Row]:
    """All figures of this file."""
    turns = [(observe(on_avmm(guest, 2, RUN)).loads, observe(on_qemu(guest, 2, RUN)).loads) for _ in range(rounds)]
    rows = []
    for load, what in LOADS.items():
        ours, theirs = ([_pair(turn[side], load) for turn in turns] for side in (0, 1))
        rows.append(at_least(f"two tasks on two vCPUs, {what}: one after the other", ours, 1.8, "s", "at once"))
        rows.append(beside("  the same on QEMU, multi-threaded", theirs, "s", "at once"))
    return rows


def _pair(loads: dict[str, float], load: str) -> Pair:
    return loads[f"{load}-serial"], loads[f"{load}-together"]
