"""`python -m tests.benchmarks`: every benchmark, one table; exits with 1 when a goal is missed."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine

import uvloop

from avmm.log import LOGGER
from tests.benchmarks import exits, guests, interrupts, metrics, page, pmu, requests, stops, trace, watched
from tests.benchmarks.table import Row, render


def main() -> int:
    """Run them one after the other: they would disturb each other."""
    logging.getLogger(LOGGER).setLevel(logging.CRITICAL)
    on_uvloop: list[Callable[[], Coroutine[None, None, list[Row]]]] = [
        requests.run,
        requests.crowd,
        exits.run,
        metrics.run,
        trace.run,
        stops.run,
        watched.run,
    ]
    rows = asyncio.run(requests.run())
    for benchmark in on_uvloop:
        rows += uvloop.run(benchmark())
    rows += guests.run()
    rows += pmu.run()
    rows += interrupts.run()
    rows += page.run()
    print(render(rows))
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
