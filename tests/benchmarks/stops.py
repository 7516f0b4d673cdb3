"""How long it takes to stop a VM whose guests do their worst: spin with interrupts masked, or access a device without pause."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from avmm import MachineConfig, Vm
from tests.benchmarks.table import Row

ROUNDS = 50
LIMIT_MS = 100
GUESTS = {
    "spins with interrupts masked": (0x14000000,),  # b .
    "reads a device without pause": (0xD2A12001, 0xB9401820, 0x17FFFFFF),  # mov x1, #0x09000000; ldr w0, [x1, #24]; b .-4
}


async def _stop_ms(kernel: Path) -> float:
    async with Vm(MachineConfig(kernel=kernel, memory="4M")) as vm:
        await vm.start()
        while not vm.vcpus[0].stats.entered_ns > 0:
            await asyncio.sleep(0)
        began_ns = time.perf_counter_ns()
        await vm.stop()
        return (time.perf_counter_ns() - began_ns) / 1e6


async def run() -> list[Row]:
    """All figures of this file, on the running loop."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for what, program in GUESTS.items():
            kernel = Path(folder, "guest")
            kernel.write_bytes(b"".join(word.to_bytes(4, "little") for word in program))
            taken = [await _stop_ms(kernel) for _ in range(ROUNDS)]
            worst = max(taken)
            goal = f"at most {LIMIT_MS} ms"
            rows.append(
                Row(f"stop of a guest that {what}, worst of {ROUNDS}", f"{worst:.1f} ms", "", None, goal, worst <= LIMIT_MS)
            )
    return rows
