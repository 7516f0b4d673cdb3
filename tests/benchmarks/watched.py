"""What watching costs a guest: metrics scraped, snapshots and events read and a timeline recorded, against nothing of it."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median

import httpx

from avmm_control.client import ControlClient, ControlError
from tests.benchmarks.guests import RATE, on_avmm
from tests.benchmarks.table import Row

PAIRS = 5
ROUNDS = 2_000_000_000
"""Some seconds, so that what is measured is watching and not its beginning."""
METRICS = "127.0.0.1:9465"
LOOK_S = 1.0
"""How often the terminal view and Prometheus look, in seconds; Prometheus looks every 15 unless told otherwise."""
AGAIN_S = 0.1
"""How soon to try again to reach a guest that is not there yet."""
GOAL = 0.97


async def rate(*options: str) -> float:
    """Instructions a second of guest time, as the guest says."""
    command = [*on_avmm("bench_alu"), "--append", f"rounds={ROUNDS}", *options]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=pipe)
    output, _ = await process.communicate()
    found = RATE.search(output.decode())
    assert found is not None, output
    count, ticks, hertz = map(int, found.groups())
    return count * hertz / ticks


async def watched_rate() -> float:
    """The same, with everything on and somebody at each end."""
    with tempfile.TemporaryDirectory() as folder:
        socket, trace = Path(folder, "control.sock"), Path(folder, "trace")
        looked = [0, 0, 0]
        async with _running(_look(socket, looked), _scrape(looked), _listen(socket, looked)):
            measured = await rate("--metrics", METRICS, "--control", str(socket), "--trace", str(trace))
        assert all(looked), "somebody has seen nothing"
        return measured


@asynccontextmanager
async def _running(*work: object) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one) for one in work]  # type: ignore[call-overload]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _look(socket: Path, looked: list[int]) -> None:
    async with ControlClient(socket) as control:
        while True:
            try:
                await control.vm("vm0").snapshot()
            except ControlError:  # not there yet, or over
                await asyncio.sleep(AGAIN_S)
            else:
                looked[0] += 1
                await asyncio.sleep(LOOK_S)


async def _scrape(looked: list[int]) -> None:
    async with httpx.AsyncClient() as http:
        while True:
            try:
                await http.get(f"http://{METRICS}/metrics")
            except httpx.HTTPError:
                await asyncio.sleep(AGAIN_S)
            else:
                looked[1] += 1
                await asyncio.sleep(LOOK_S)


async def _listen(socket: Path, looked: list[int]) -> None:
    async with ControlClient(socket) as control:
        while True:
            with suppress(ControlError):
                async for _ in control.vm("vm0").events(("state", "exit", "kick", "request", "handled")):
                    looked[2] += 1
            await asyncio.sleep(AGAIN_S)


async def run() -> list[Row]:
    """All figures of this file."""
    pairs = [(await watched_rate() / 1e6, await rate() / 1e6) for _ in range(PAIRS)]
    ratios = sorted(on / off for on, off in pairs)
    on, off = (median(side) for side in zip(*pairs, strict=True))
    ratio = median(ratios)
    return [
        Row(
            "guest, ALU loop, watched: metrics, control, events, timeline",
            f"{on:,.0f} MIPS",
            f"nothing of it {off:,.0f} MIPS",
            ratio,
            f"at least {GOAL}",
            ratio >= GOAL,
            (ratios[0], ratios[-1]),
        )
    ]
