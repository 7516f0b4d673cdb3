"""Loads that only compute, on one vCPU."""

from __future__ import annotations

from tests.benchmarks.linux.guest import Guest
from tests.benchmarks.linux.machines import QUIET, on_avmm, on_qemu
from tests.benchmarks.linux.pairs import at_most, beside
from tests.benchmarks.linux.process import observe
from tests.benchmarks.table import Row

RUN = f'{QUIET} run="compute"'
LOADS = {"sha256sum": "sha256sum", "gzip": "gzip", "sort": "sort", "work": "branches and memory, in C"}


def run(guest: Guest, rounds: int) -> list[Row]:
    """All figures of this file."""
    turns = [(observe(on_avmm(guest, 1, RUN)), observe(on_qemu(guest, 1, RUN))) for _ in range(rounds)]
    rows = []
    for load, what in LOADS.items():
        times = [(ours.loads[load], theirs.loads[load]) for ours, theirs in turns]
        rows.append(at_most(f"compute, {what}", times, 1.0, "s", "QEMU"))
        cpu = [(ours.load_cpu[load], theirs.load_cpu[load]) for ours, theirs in turns]
        rows.append(beside(f"compute, {what}: CPU time", cpu, "s", "QEMU"))
    return rows
