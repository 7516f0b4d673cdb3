"""A guest that is up and has nothing to do: what its process holds in memory, and what it costs the host."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmarks.linux.guest import Guest
from tests.benchmarks.linux.machines import QUIET, on_avmm, on_qemu
from tests.benchmarks.linux.pairs import beside
from tests.benchmarks.linux.process import cpu_seconds, observe
from tests.benchmarks.table import Row

IDLE_S = 6
# What the boot left for later is over after two seconds.
RUN = f'{QUIET} run="sleep 2; echo resting; sleep {IDLE_S}; echo rested"'
LIMIT = 1.0


@dataclass(slots=True)
class Rest:
    """One process, while its guest rests."""

    rss_mb: float = 0.0
    pss_mb: float = 0.0
    cpu_percent: float = 0.0
    _began: tuple[float, float] = (0.0, 0.0)

    def watch(self, process: int, line: str) -> None:
        """Look at the process when the guest says so."""
        match line.split():
            case ["resting"]:
                sizes = dict(row.split()[:2] for row in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:])
                self.rss_mb, self.pss_mb = (int(sizes[name]) / 1024 for name in ("Rss:", "Pss:"))
                self._began = time.perf_counter(), cpu_seconds(process)
            case ["rested"]:
                since, cpu = self._began
                self.cpu_percent = 100 * (cpu_seconds(process) - cpu) / (time.perf_counter() - since)
            case _:
                pass


def _rest(command: list[str]) -> Rest:
    rest = Rest()
    observe(command, rest.watch)
    return rest


def run(guest: Guest, rounds: int) -> list[Row]:
    """All figures of this file."""
    rows = []
    for vcpus in (1, 2):
        turns = [(_rest(on_avmm(guest, vcpus, RUN)), _rest(on_qemu(guest, vcpus, RUN))) for _ in range(rounds)]
        of = f"{vcpus} vCPU{'s' if vcpus > 1 else ''}"
        rss = [(one.rss_mb, other.rss_mb) for one, other in turns]
        pss = [(one.pss_mb, other.pss_mb) for one, other in turns]
        rows += [beside(f"resident memory, {of}", rss, "MiB", "QEMU"), beside(f"proportional set size, {of}", pss, "MiB", "QEMU")]
        ours, theirs = (median(turn[side].cpu_percent for turn in turns) for side in (0, 1))
        what, limit, met = f"idle guest, host CPU, {of}", f"under {LIMIT:g} %", ours < LIMIT
        rows.append(Row(what, f"{ours:.2f} %", f"QEMU {theirs:.2f} %", None, limit, met))
    return rows
