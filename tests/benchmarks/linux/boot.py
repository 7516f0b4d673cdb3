"""From the start of the process to its end: Debian boots, carries out a command, and powers off.

avmm keeps what it has translated for later runs: a first boot, with nothing kept and all to be written, has rows of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import TemporaryDirectory

from tests.benchmarks.linux.guest import Guest
from tests.benchmarks.linux.machines import Threads, on_avmm, on_qemu
from tests.benchmarks.linux.pairs import at_most, beside
from tests.benchmarks.linux.process import Observed, observe
from tests.benchmarks.table import Row

RUN = 'run="true"'
GOALS: dict[int, dict[Threads, float]] = {1: {"multi": 0.95}, 2: {"single": 0.8, "multi": 1.0}, 4: {"single": 0.8, "multi": 1.0}}


@dataclass(frozen=True, slots=True)
class Turn:
    """One boot of each."""

    first: Observed
    again: Observed
    theirs: dict[Threads, Observed]


def run(guest: Guest, rounds: int) -> list[Row]:
    """All figures of this file."""
    rows = []
    for vcpus, goals in GOALS.items():
        turns = [_turn(guest, vcpus, list(goals)) for _ in range(rounds)]
        for threads, goal in goals.items():
            peer = "QEMU" if vcpus == 1 else f"QEMU, {threads}-threaded"
            boot = f"boot to power-off, {vcpus} vCPU{'s' if vcpus > 1 else ''}"
            again = [(turn.again, turn.theirs[threads]) for turn in turns]
            first = [(turn.first, turn.theirs[threads]) for turn in turns]
            rows.append(at_most(boot, [(one.seconds, other.seconds) for one, other in again], goal, "s", peer))
            rows.append(beside(f"{boot}: CPU time", [(one.cpu_seconds, other.cpu_seconds) for one, other in again], "s", peer))
            rows.append(beside(f"{boot}, the first", [(one.seconds, other.seconds) for one, other in first], "s", peer))
    return rows


def _turn(guest: Guest, vcpus: int, kinds: list[Threads]) -> Turn:
    """Two boots of ours, the first with an empty cache, then one of each kind of QEMU."""
    with TemporaryDirectory() as folder:
        first, again = (observe(on_avmm(guest, vcpus, RUN, translations=folder)) for _ in range(2))
    return Turn(first, again, {threads: observe(on_qemu(guest, vcpus, RUN, threads=threads)) for threads in kinds})
