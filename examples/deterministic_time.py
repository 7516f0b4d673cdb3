"""Deterministic time: a guest whose clock moves only as it executes, and jumps when everything sleeps.

Three seconds of guest time pass in a fraction of one, and every run is the same to the last digit.
"""

import asyncio
import hashlib
import time
from pathlib import Path

import avmm

GUEST = Path(__file__).parent / "guests" / "images" / "smp.img"


async def run() -> tuple[bytes, int]:
    """Run the guest once: what its console wrote, and the nanoseconds of its own time that passed."""
    written = bytearray()
    machine = avmm.MachineConfig(vcpus=4, memory="64M", kernel=GUEST, clock="virtual", slot="inline")
    async with avmm.Vm(machine, console=written.extend) as vm:
        await vm.start()
        await vm.halted()
        return bytes(written), vm.clock.now_ns()


async def main() -> None:
    for attempt in (1, 2):
        started = time.monotonic()
        console, guest_ns = await run()
        digest = hashlib.sha256(console).hexdigest()[:16]
        taken = time.monotonic() - started
        print(f"run {attempt}: {guest_ns} ns of guest time in {taken:.1f} s, console {len(console)} bytes, sha256 {digest}")


if __name__ == "__main__":
    asyncio.run(main())
