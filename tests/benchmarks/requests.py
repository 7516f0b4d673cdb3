"""The way of a request to a sleeping vCPU, beside a bare asyncio.Event; and ten thousand sleepers in one process."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from pathlib import Path
from statistics import median

from avmm import Vcpu
from avmm.host_clock import HostClock
from avmm.plugin import Halted
from avmm.testing import ScriptedVm, ToyRequest
from tests.benchmarks.table import Row, at_most

ROUNDS = 20_000
CROWD = 10_000


def sleeper(_: object):  # type: ignore[no-untyped-def]
    """A guest that waits for interrupts for ever."""
    while True:
        yield Halted()


async def request_to_handler() -> float:
    """Median nanoseconds from making a request of a sleeping vCPU until its handler runs."""
    handled_ns = 0
    handled = asyncio.Event()

    def work(_: Vcpu) -> None:
        nonlocal handled_ns
        handled_ns = time.perf_counter_ns()
        handled.set()

    taken: list[int] = []
    async with ScriptedVm(sleeper, clock=HostClock()) as vm:
        vcpu, part = vm.vcpus[0], vm.toy.parts[0]
        part.on_work = work
        await vm.start()
        await vm.until(lambda: vcpu.asleep)
        vcpu.trace = None  # the test kit's own watching is no part of the way
        for _ in range(ROUNDS):
            part.pending_irqs = 1  # something to run for; nobody acknowledges it
            started_ns = time.perf_counter_ns()
            vcpu.make_request_and_kick(ToyRequest.WORK)
            await handled.wait()
            handled.clear()
            part.pending_irqs = 0
            while not vcpu.asleep:
                await asyncio.sleep(0)
            taken.append(handled_ns - started_ns)
    return median(taken)


async def event_round_trip() -> float:
    """Median nanoseconds of a bare round trip between two tasks: two events set, two waiters resumed."""
    ping, pong = asyncio.Event(), asyncio.Event()

    async def answer() -> None:
        while True:
            await ping.wait()
            ping.clear()
            pong.set()

    task = asyncio.create_task(answer())
    taken: list[int] = []
    for _ in range(ROUNDS):
        started_ns = time.perf_counter_ns()
        ping.set()
        await pong.wait()
        pong.clear()
        taken.append(time.perf_counter_ns() - started_ns)
    task.cancel()
    return median(taken)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def crowd() -> list[Row]:
    """Memory, idle cost and waking of `CROWD` sleeping vCPUs."""
    gc.collect()
    before = _resident_bytes()
    vms = [ScriptedVm(sleeper, vcpus=100, name=f"crowd{number}") for number in range(CROWD // 100)]
    for vm in vms:
        await vm.__aenter__()
        await vm.start()
    vcpus = [vcpu for vm in vms for vcpu in vm.vcpus]
    while not all(vcpu.asleep for vcpu in vcpus):
        await asyncio.sleep(0)
    gc.collect()
    each = (_resident_bytes() - before) / CROWD

    cpu_before = time.process_time_ns()
    await asyncio.sleep(1)
    idle_percent = (time.process_time_ns() - cpu_before) / 1e7

    woken_before = sum(vcpu.stats.wakeups for vcpu in vcpus)
    started_ns = time.perf_counter_ns()
    for vm in vms:
        for index in range(len(vm.vcpus)):
            vm.toy.raise_irq(index)
    exits = [vcpu.stats.exits for vcpu in vcpus]
    while any(vcpu.stats.exits <= exit_ for vcpu, exit_ in zip(vcpus, exits, strict=True)):
        await asyncio.sleep(0)
    wake_ms = (time.perf_counter_ns() - started_ns) / 1e6
    assert sum(vcpu.stats.wakeups for vcpu in vcpus) - woken_before >= CROWD
    for vm in vms:
        await vm.__aexit__(None, None, None)
    return [
        Row(f"{CROWD:,} sleeping vCPUs: memory each", f"{each:,.0f} bytes", "a bare waiting task 1,200 bytes"),
        Row(f"{CROWD:,} sleeping vCPUs: all woken and in the guest", f"{wake_ms:.0f} ms", f"{wake_ms * 1e3 / CROWD:.1f} us each"),
        Row(f"{CROWD:,} sleeping vCPUs: idle CPU", f"{idle_percent:.2f} %", "", None, "zero", idle_percent < 0.5),
    ]


async def run() -> list[Row]:
    """All figures of this file, on the running loop."""
    loop = type(asyncio.get_running_loop()).__module__.split(".")[0]
    row = at_most(
        f"request, kick, wake-up until the handler runs ({loop})",
        await request_to_handler() / 1e3,
        await event_round_trip() / 1e3,
        3,
        "us",
        "asyncio.Event round trip",
    )
    return [row]
