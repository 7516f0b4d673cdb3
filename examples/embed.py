"""Embed a VM: four AArch64 vCPUs in an asyncio program, watched while they run."""

import asyncio
import sys
from pathlib import Path

import avmm

GUEST = Path(__file__).parent / "guests" / "images" / "smp.img"


async def main() -> None:
    machine = avmm.MachineConfig(vcpus=4, memory="128M", kernel=GUEST)
    async with avmm.Vm(machine, console=sys.stdout.buffer.write) as vm:  # built, not yet running
        await vm.start()
        await asyncio.sleep(0.5)
        await vm.make_all_cpus_request(avmm.Request.TLB_FLUSH)  # WAIT is in the request: all were out when this returns
        async with vm.paused():  # quiesced: every vCPU outside, every device at rest
            print(f"paused at pc {vm.vcpus[0].engine.read_register('pc'):#x}")
        print(await vm.halted())
        for vcpu in vm.vcpus:
            print(f"vcpu {vcpu.index}: {vcpu.stats.exits} exits, {vcpu.stats.wakeups} wake-ups, kicks {vcpu.stats.kicks}")


if __name__ == "__main__":
    asyncio.run(main())
