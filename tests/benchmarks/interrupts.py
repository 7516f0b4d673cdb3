"""What interrupts cost a guest, on avmm and on QEMU's emulator in turn, by the guest's own count of time."""

from __future__ import annotations

import shutil
from statistics import median

from tests.benchmarks.guests import PAIRS, on_avmm, on_qemu, rate
from tests.benchmarks.table import Row, at_most

THREADS = ("single", "multi")
FIGURES = (
    ("ipi", "SGI to a vCPU that spins, until it has been in its handler", 2),
    ("acknowledge", "GIC acknowledge and end of interrupt", 1),
    ("tick", "timer due, until its handler runs; guest spinning", 1),
    ("tick sleep", "timer due, until its handler runs; guest in WFI", 1),
)


def _microseconds(command: list[str]) -> float:
    return 1e6 / rate(command)


def _ours(append: str, vcpus: int) -> float:
    return _microseconds([*on_avmm("bench_irq"), "--smp", str(vcpus), "--append", append])


def _theirs(append: str, vcpus: int, thread: str) -> float:
    return _microseconds([*on_qemu("bench_irq"), "-smp", str(vcpus), "-accel", f"tcg,thread={thread}", "-append", append])


def run() -> list[Row]:
    """All figures of this file."""
    if shutil.which("qemu-system-aarch64") is None:
        return [Row(what, f"{_ours(append, vcpus):.2f} us", "no QEMU here") for append, what, vcpus in FIGURES]
    rows = []
    for append, what, vcpus in FIGURES:
        ours, single, multi = zip(
            *[(_ours(append, vcpus), *(_theirs(append, vcpus, thread) for thread in THREADS)) for _ in range(PAIRS)], strict=True
        )
        against = f"QEMU {median(single):.2f} us single-, {median(multi):.2f} us multi-threaded"
        if append == "ipi":
            rows.append(at_most(what, median(ours), median(multi), 1 / 3, "us", "QEMU"))
        else:
            rows.append(Row(what, f"{median(ours):.2f} us", against, median(ours) / median(multi)))
    return rows
