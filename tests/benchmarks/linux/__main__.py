"""`python -m tests.benchmarks.linux [PART...] [--rounds N]`: one table; exits with 1 when a goal is missed."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable

from avmm.errors import FetchError
from tests.benchmarks.linux import boot, compute, disk, network, resting, start, tasks
from tests.benchmarks.linux.guest import Guest, debian
from tests.benchmarks.linux.machines import QEMU, compile_sources
from tests.benchmarks.table import Row, render

PARTS: dict[str, Callable[[Guest, int], list[Row]]] = {
    "start": start.run,
    "boot": boot.run,
    "compute": compute.run,
    "tasks": tasks.run,
    "disk": disk.run,
    "network": network.run,
    "resting": resting.run,
}
ROUNDS = 5


def main() -> int:
    """Run the parts one after the other: they would disturb each other."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.linux", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}: all by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"pairs of runs for each figure (default: {ROUNDS})")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if shutil.which(QEMU) is None:
        print(f"bench-linux: {QEMU} is missing, and a ratio takes two (Debian: apt-get install qemu-system-arm)", file=sys.stderr)
        return 2
    compile_sources()
    rows: list[Row] = []
    try:
        with debian() as guest:
            for part in arguments.parts or PARTS:
                rows += PARTS[part](guest, arguments.rounds)
    except FetchError as error:
        print(f"bench-linux: {error}", file=sys.stderr)
        return 2
    print(render(rows))
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
