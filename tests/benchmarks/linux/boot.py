"""From the start of the process to its end: Debian boots, carries out a command, and powers off."""

from __future__ import annotations

from tests.benchmarks.linux.guest import Guest
from tests.benchmarks.linux.machines import Threads, on_avmm, on_qemu
from tests.benchmarks.linux.pairs import at_most, beside
from tests.benchmarks.linux.process import Observed, observe
from tests.benchmarks.table import Row

RUN = 'run="true"'
GOALS: dict[int, dict[Threads, float]] = {1: {"multi": 0.95}, 2: {"single": 0.8, "multi": 1.0}, 4: {"single": 0.8, "multi": 1.0}}


def run(guest: Guest, rounds: int) -> list[Row]:
    """All figures of this file."""
    rows = []
    for vcpus, goals in GOALS.items():
        turns = [_turn(guest, vcpus, list(goals)) for _ in range(rounds)]
        for threads, goal in goals.items():
            what = f"boot to power-off, {vcpus} vCPU{'s' if vcpus > 1 else ''}"
            peer = "QEMU" if vcpus == 1 else f"QEMU, {threads}-threaded"
            pairs = [(ours, theirs[threads]) for ours, theirs in turns]
            rows.append(at_most(what, [(one.seconds, other.seconds) for one, other in pairs], goal, "s", peer))
            rows.append(beside(f"{what}: CPU time", [(one.cpu_seconds, other.cpu_seconds) for one, other in pairs], "s", peer))
    return rows


def _turn(guest: Guest, vcpus: int, kinds: list[Threads]) -> tuple[Observed, dict[Threads, Observed]]:
    """One boot of ours, then one of each kind of QEMU."""
    ours = observe(on_avmm(guest, vcpus, RUN))
    return ours, {threads: observe(on_qemu(guest, vcpus, RUN, threads=threads)) for threads in kinds}
