"""What a timeline costs: an event, and the run loop with and without it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

from avmm.exits import YIELDED
from avmm.plugin import Tracepoint
from avmm.testing import ScriptedVm, Step
from avmm_trace.instrument import TraceInstrument
from avmm_trace.recorder import Recorder
from tests.benchmarks.table import Row, at_least

EVENTS = 200_000
EXITS = 5_000
ROUNDS = 9
BUDGET_NS = 1_000


async def event_ns() -> float:
    """Nanoseconds to record one event, the call included."""
    async with ScriptedVm([YIELDED]) as vm:
        vm.vcpus[0].trace = None
        recorder = Recorder(vm, EVENTS)
        recorder.start()
        record = vm.vcpus[0].trace
        assert record is not None
        times = []
        for _ in range(ROUNDS):
            started_ns = time.perf_counter_ns()
            for value in range(EVENTS // 10):
                record(Tracepoint.REQUEST_MADE, value)
            times.append((time.perf_counter_ns() - started_ns) / (EVENTS // 10))
        recorder.stop()
        return min(times)


async def exits_a_second(*, traced: bool) -> float:
    """Passes of the run loop a second, each with an exit, on the event loop's own thread."""
    guest: list[Step] = [YIELDED] * EXITS
    with tempfile.TemporaryDirectory() as folder:
        instruments = [TraceInstrument(Path(folder) / "trace")] if traced else []
        async with ScriptedVm(guest, instruments=instruments) as vm:
            if not traced:
                vm.vcpus[0].trace = None
            vm.tracing = False
            await vm.start()
            started_ns = time.perf_counter_ns()
            while vm.vcpus[0].stats.exits < EXITS:
                await asyncio.sleep(0)
            return EXITS / (time.perf_counter_ns() - started_ns) * 1e9


async def run() -> list[Row]:
    """All figures of this file."""
    cost_ns = await event_ns()
    pairs = [(await exits_a_second(traced=True), await exits_a_second(traced=False)) for _ in range(ROUNDS)]
    traced, untraced = (median(side) for side in zip(*pairs, strict=True))
    return [
        Row("an event of a timeline", f"{cost_ns:.0f} ns", goal=f"at most {BUDGET_NS} ns", met=cost_ns <= BUDGET_NS),
        at_least("run loop with a timeline", traced, untraced, 0.5, "/s", "without"),
    ]
