"""What the exporter costs: a scrape of a thousand vCPUs, and the run loop with and without it."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from statistics import median

from avmm.host_clock import HostClock
from avmm.plugin import Yielded
from avmm.testing import ScriptedVm
from tests.benchmarks.requests import sleeper
from tests.benchmarks.table import Row, at_least

ENDPOINT = "127.0.0.1:9464"
PAIRS = 7
PASSES = 40_000


def _busy(_: object):  # type: ignore[no-untyped-def]
    while True:
        yield Yielded()


async def passes_a_second(metrics: str | None) -> float:
    """Passes of the run loop a second with a guest that only exits."""
    async with ScriptedVm(_busy, clock=HostClock(), metrics=metrics) as vm:
        await vm.start()
        stats = vm.vcpus[0].stats
        started_ns, before = time.perf_counter_ns(), stats.exits
        while stats.exits - before < PASSES:
            await asyncio.sleep(0)
        return (stats.exits - before) / (time.perf_counter_ns() - started_ns) * 1e9


def _scrape() -> int:
    with urllib.request.urlopen(f"http://{ENDPOINT}/metrics") as answer:
        return len(answer.read())


async def _longest_wait_ns(until: asyncio.Future[int]) -> int:
    """The longest the event loop was kept from a pass, until `until` is done."""
    longest, last = 0, time.perf_counter_ns()
    while not until.done():
        await asyncio.sleep(0)
        longest, last = max(longest, time.perf_counter_ns() - last), time.perf_counter_ns()
    return longest


async def scrape() -> tuple[float, int, float]:
    """Milliseconds and bytes of a scrape of 1,000 sleeping vCPUs, and the milliseconds the event loop was kept waiting by one.

    The latter with a loop that never rests, and so for its client's work on the same interpreter as well.
    """
    async with (
        ScriptedVm(sleeper, vcpus=500, name="one", metrics=ENDPOINT) as one,
        ScriptedVm(sleeper, vcpus=500, name="other", metrics=ENDPOINT) as other,
    ):
        await one.start()
        await other.start()
        taken, waits, size = [], [], 0
        for _ in range(9):
            started_ns = time.perf_counter_ns()
            size = await asyncio.to_thread(_scrape)
            taken.append((time.perf_counter_ns() - started_ns) / 1e6)
        for _ in range(5):
            scraping = asyncio.ensure_future(asyncio.to_thread(_scrape))
            waits.append(await _longest_wait_ns(scraping) / 1e6)
        return median(taken), size, median(waits)


async def run() -> list[Row]:
    """All figures of this file."""
    taken, size, wait = await scrape()
    pairs = [(await passes_a_second(ENDPOINT), await passes_a_second(None)) for _ in range(PAIRS)]
    with_metrics, without = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    return [
        Row("metrics: scrape of 1,000 vCPUs", f"{taken:.0f} ms", f"{size / 1e6:.1f} MB", None, "at most 50 ms", taken <= 50),
        Row("metrics: longest wait of a busy event loop meanwhile", f"{wait:.1f} ms", "switch interval 5 ms"),
        at_least("metrics: passes of the run loop with the exporter", with_metrics, without, 0.97, "/s", "without"),
    ]
