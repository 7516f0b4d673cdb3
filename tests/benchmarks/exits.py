"""Kicks and exits on the real engine: how fast a vCPU leaves the guest, and how often it can come and go."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import quantiles
from typing import Literal

import avmm
from avmm.plugin import Tracepoint
from tests.benchmarks.table import Row

KICKS = 2_000
SECONDS = 1.0


def _quantiles(taken: list[int]) -> str:
    cuts = quantiles(taken, n=100)
    return f"p50 {cuts[49] / 1e3:.1f} us, p99 {cuts[98] / 1e3:.1f} us"


def bare_hand_over() -> list[int]:
    """Nanoseconds of a round trip between two threads by eventfd each way: the least a kick and its answer could take."""
    there, back = os.eventfd(0), os.eventfd(0)

    def serve() -> None:
        for _ in range(KICKS):
            os.eventfd_read(there)
            os.eventfd_write(back, 1)

    thread = threading.Thread(target=serve)
    thread.start()
    taken = []
    for _ in range(KICKS):
        started_ns = time.perf_counter_ns()
        os.eventfd_write(there, 1)
        os.eventfd_read(back)
        taken.append(time.perf_counter_ns() - started_ns)
    thread.join()
    os.close(there)
    os.close(back)
    return taken


WFE_LOOP = bytes.fromhex("5f2003d5 ffffff17")  # 1: wfe; b 1b
SPIN_LOOP = bytes.fromhex("00000014")  # b .


@asynccontextmanager
async def running(code: bytes, affinity: Literal["free", "shared"]) -> AsyncIterator[avmm.Vcpu]:
    """The one vCPU of a VM that executes `code`."""
    with tempfile.NamedTemporaryFile() as kernel:
        kernel.write(code)
        kernel.flush()
        async with avmm.Vm(avmm.MachineConfig(memory="64M", kernel=kernel.name, affinity=affinity)) as vm:
            await vm.start()
            await asyncio.sleep(0.05)
            yield vm.vcpus[0]


async def kicks(affinity: Literal["free", "shared"]) -> list[int]:
    """Nanoseconds from making a request of a vCPU in the guest until it is outside guest mode, on its own thread."""
    taken: list[int] = []
    outside_ns = 0

    def trace(point: Tracepoint, value: int) -> None:
        nonlocal outside_ns
        if point is Tracepoint.EXIT:
            outside_ns = time.perf_counter_ns()

    async with running(SPIN_LOOP, affinity) as vcpu:
        vcpu.trace = trace
        while len(taken) < KICKS:
            started_ns = time.perf_counter_ns()
            if await vcpu.make_request_and_kick(avmm.Request.OUTSIDE_GUEST_MODE):
                taken.append(outside_ns - started_ns)
            while vcpu.mode is not avmm.VcpuMode.IN_GUEST_MODE:
                await asyncio.sleep(0)
            await asyncio.sleep(0.0002)  # long enough for the guest to be at it again; not measured
    return taken


async def exits_a_second(affinity: Literal["free", "shared"]) -> float:
    """Whole passes of the run loop a second: exit, hand-over to the event loop, its requests, entry."""
    async with running(WFE_LOOP, affinity) as vcpu:
        before, started_ns = vcpu.stats.exits, time.perf_counter_ns()
        await asyncio.sleep(SECONDS)
        return (vcpu.stats.exits - before) / (time.perf_counter_ns() - started_ns) * 1e9


async def run() -> list[Row]:
    """All figures of this file."""
    rows = [Row("bare hand-over between threads, eventfd both ways", _quantiles(bare_hand_over()))]
    placements: tuple[Literal["free", "shared"], ...] = ("shared", "free")
    for affinity in placements:
        rows.append(Row(f"kick of a vCPU in the guest until it is outside ({affinity} core)", _quantiles(await kicks(affinity))))
    for affinity in placements:
        rows.append(Row(f"exits through the whole loop ({affinity} core)", f"{await exits_a_second(affinity):,.0f} /s"))
    return rows
