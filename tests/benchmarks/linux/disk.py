"""A disk whose image is in the host's page cache: what the way there costs, and not the host's disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.benchmarks.linux.guest import Guest
from tests.benchmarks.linux.machines import QUIET, on_avmm, on_qemu
from tests.benchmarks.linux.pairs import Pair, at_least
from tests.benchmarks.linux.process import observe
from tests.benchmarks.table import Row

SIZE = 256 << 20
RUN = f'{QUIET} run="disk"'
# As scripts/disk.sh has them: bytes in sequence, blocks of 4 KiB at random, and those of four at a time.
LOADS = {
    "seqread": ("reads of 1 MiB in sequence", 1024, "MiB/s"),
    "seqwrite": ("writes of 1 MiB in sequence", 1024, "MiB/s"),
    "randread": ("reads of 4 KiB at random", 5_000, "/s"),
    "randwrite": ("writes of 4 KiB at random", 5_000, "/s"),
    "fourread": ("reads of 4 KiB at random, by four at a time", 10_000, "/s"),
    "fourwrite": ("writes of 4 KiB at random, by four at a time", 10_000, "/s"),
}


def run(guest: Guest, rounds: int) -> list[Row]:
    """All figures of this file."""
    turns = [(_loads(guest, "avmm"), _loads(guest, "qemu")) for _ in range(rounds)]
    rows = []
    for load, (what, amount, unit) in LOADS.items():
        pairs: list[Pair] = [(amount / ours[load], amount / theirs[load]) for ours, theirs in turns]
        rows.append(at_least(f"virtio-blk, {what}", pairs, 0.8, unit, "QEMU"))
    return rows


def _loads(guest: Guest, which: str) -> dict[str, float]:
    """One of both, with an image of its own."""
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory, "disk.img")
        image.touch()
        with image.open("r+b") as file:
            file.truncate(SIZE)
        if which == "avmm":
            return observe(on_avmm(guest, 1, RUN, "--disk", str(image))).loads
        drive = ["-drive", f"file={image},if=none,id=disk0,format=raw", "-device", "virtio-blk-device,drive=disk0"]
        return observe(on_qemu(guest, 1, RUN, *drive)).loads
