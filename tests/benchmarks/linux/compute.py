"""Loads that only compute, on one vCPU."""

from __future__ import annotations

from tests.benchmarks.linux.guest import Guest
from tests.benchmarks.linux.machines import QUIET, on_avmm, on_qemu
from tests.benchmarks.linux.pairs import at_most
from tests.benchmarks.linux.process import observe
from tests.benchmarks.table import Row

RUN = f'{QUIET} run="compute"'
LOADS = {"sha256sum": "sha256sum", "gzip": "gzip", "sort": "sort", "work": "branches and memory, in C"}


def run(guest: Guest, rounds: int) -> list[Row]:
    """All figures of this file."""
    turns = [(observe(on_avmm(guest, 1, RUN)).loads, observe(on_qemu(guest, 1, RUN)).loads) for _ in range(rounds)]
    return [
        at_most(f"compute, {what}", [(ours[load], theirs[load]) for ours, theirs in turns], 1.0, "s", "QEMU")
        for load, what in LOADS.items()
    ]
