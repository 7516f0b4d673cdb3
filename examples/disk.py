"""Give a guest a disk that is no file: Python makes up what every sector says."""

import asyncio
import struct
from collections.abc import Sequence

from avmm.plugin import Device, DeviceOptions, GuestMemory
from avmm.testing import DEVICES_BASE, RAM_BASE, MmioRead, MmioWrite, Script, ScriptedVcpu, ScriptedVm
from avmm_virtio import Blockdev, BlockRequest, Operation, VirtioBlk, VirtioMmio, Virtqueue

SECTOR = 512
DESCRIPTORS, AVAILABLE, USED, HEADER, DATA, STATUS = range(RAM_BASE, RAM_BASE + 0x6000, 0x1000)


class Numbered(Blockdev):
    """A read-only disk of a tebibyte; each sector says its number."""

    capacity, read_only = 1 << 40, True

    def submit(self, request: BlockRequest) -> bool:
        if request.operation is Operation.READ:
            first = request.offset // SECTOR
            sectors = range(first, first + request.size // SECTOR)
            data = b"".join(f"this is sector {number}\n".encode().ljust(SECTOR, b"\0") for number in sectors)
            for view in request.views:  # the guest's own memory, wherever it wants the data
                view[:], data = data[: len(view)], data[len(view) :]
            request.views = ()
        return True  # done already: nothing of this has to wait

    def abandon(self, queue: Virtqueue) -> Sequence[BlockRequest]:
        return ()  # nothing is ever under way


def create_disk(options: DeviceOptions) -> Device:
    """What the entry point in `avmm.devices` would name; a table with `file = Numbered()` does the same for `virtio-blk`."""
    return VirtioMmio(VirtioBlk(Numbered(), options.clock), options)


def driver(memory: GuestMemory, sector: int, said: list[str]) -> Script:
    """A guest without instructions reads one sector, by the steps of virtio 1.2, 3.1 and 2.7."""
    for register, value in (
        *((0x070, 0), (0x070, 1), (0x070, 3)),  # Status: reset, ACKNOWLEDGE, DRIVER
        *((0x024, 1), (0x020, 1), (0x070, 11)),  # VIRTIO_F_VERSION_1, FEATURES_OK
        *((0x030, 0), (0x038, 8), (0x080, DESCRIPTORS), (0x090, AVAILABLE), (0x0A0, USED), (0x044, 1)),  # the queue
        (0x070, 15),  # DRIVER_OK
    ):
        yield MmioWrite(DEVICES_BASE + register, value)
    memory.write(HEADER, struct.pack("<IIQ", 0, 0, sector))
    # Three descriptors, each with the next: the header, room for the data (2: the device writes), room for the status.
    chain = (HEADER, 16, 1, 1), (DATA, SECTOR, 3, 2), (STATUS, 1, 2, 0)
    memory.write(DESCRIPTORS, b"".join(struct.pack("<QIHH", *descriptor) for descriptor in chain))
    memory.write(AVAILABLE, struct.pack("<HHH", 0, 1, 0))
    yield MmioWrite(DEVICES_BASE + 0x050, 0)  # QueueNotify
    interrupt = yield MmioRead(DEVICES_BASE + 0x060)
    text = memory.read(DATA, SECTOR).rstrip(b"\n\0").decode()
    said.append(f"interrupt status {interrupt}, status {memory.read(STATUS, 1)[0]}: {text}")


async def main() -> None:
    said: list[str] = []

    def guest(cpu: ScriptedVcpu) -> Script:
        return driver(vm.memory, 123_456_789, said)

    async with ScriptedVm(guest, devices={"disk": create_disk}) as vm:
        await vm.start()
        await vm.until(lambda: said)
        print(f"guest: {said[0]}")
        for figure, value in next(iter(vm.bus)).device.figures():
            if figure.name == "blk_bytes" and value:
                print(f"host: {value} bytes read")


if __name__ == "__main__":
    asyncio.run(main())
