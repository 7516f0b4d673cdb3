"""Write a device: a doorbell that a guest rings, and that rings an interrupt."""

import asyncio

from avmm.plugin import Device, DeviceOptions, Halted, IrqLine, Width
from avmm.testing import DEVICES_BASE, MmioRead, MmioWrite, ReadSystemRegister, Script, ScriptedVcpu, ScriptedVm


class Doorbell(Device):
    """A doorbell: writing n rings it n times, and the bell sounds until somebody reads the rings so far."""

    size = 0x1000

    def __init__(self, irq: IrqLine) -> None:
        self._irq, self._rings = irq, 0

    def read(self, offset: int, width: Width) -> int:
        self._irq.set_level(False)
        return self._rings

    def write(self, offset: int, width: Width, value: int) -> None:
        self._rings += value
        self._irq.set_level(True)

    def reset(self) -> None:
        self._rings = 0
        self._irq.set_level(False)


def create_device(options: DeviceOptions) -> Doorbell:
    """What the entry point in `avmm.devices` names."""
    assert options.irq is not None
    return Doorbell(options.irq)


def guest(cpu: ScriptedVcpu) -> Script:
    """A guest without instructions: rings twice, and waits for the bell."""
    yield MmioWrite(DEVICES_BASE, 2)
    yield Halted()
    irq = yield ReadSystemRegister("irq_ack")
    rings = yield MmioRead(DEVICES_BASE)
    print(f"guest: interrupt {irq}, {rings} rings")


async def main() -> None:
    async with ScriptedVm(guest, devices={"doorbell": create_device}) as vm:
        await vm.start()
        await vm.until(lambda: any(region.reads for region in vm.bus) and vm.vcpus[0].asleep)
        for region in vm.bus:
            print(f"host: {region.name} at {region.address:#x}, {region.reads} reads, {region.writes} writes")


if __name__ == "__main__":
    asyncio.run(main())
