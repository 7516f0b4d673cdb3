"""The console of a real guest, whose accesses the engine serves: nothing is lost, late or uncounted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from avmm import ExitReason, Vm
from avmm.plugin import take_snapshot

from .conftest import Booting

# Write `A` to UARTDR, then never leave the guest.
WRITE_AND_SPIN = (
    0xD2A12001,  # mov x1, #0x9000000
    0x52800822,  # mov w2, #0x41
    0xB9000022,  # str w2, [x1]
    0x14000000,  # b .
)

# Write `ABC` to UARTDR, then what would be next to memory, and never leave the guest.
WRITTEN = 0x4100_0000
WRITE_THREE_AND_SPIN = (
    0xD2A12001,  # mov x1, #0x9000000
    0xD2A82003,  # mov x3, #0x41000000
    0x52800822,  # mov w2, #0x41
    *(
        0xB9000022,  # str w2, [x1]
        0x11000442,  # add w2, w2, #1
    )
    * 3,
    0xB9000062,  # str w2, [x3]
    0x14000000,  # b .
)


@pytest.fixture
def spinner(tmp_path: Path) -> Path:
    return _image(tmp_path, WRITE_AND_SPIN)


def _image(tmp_path: Path, program: Sequence[int]) -> Path:
    image = tmp_path / "spinner.img"
    image.write_bytes(b"".join(word.to_bytes(4, "little") for word in program))
    return image


@pytest.mark.parametrize("settings", [{}, {"clock": "virtual", "slot": "inline"}])
async def test_what_a_guest_has_written_appears_though_it_never_leaves(
    boot: Booting, spinner: Path, settings: dict[str, str]
) -> None:
    async with boot("hello", kernel=spinner, **settings) as guest:
        await guest.vm.start()
        await guest.until("A")
        assert guest.vm.state() == "running"


async def test_what_a_guest_has_written_is_there_when_it_has_left(boot: Booting, spinner: Path) -> None:
    async with boot("hello", kernel=spinner, instructions=100) as guest:
        await guest.run()
        assert guest.console == "A"
        (uart,) = (region for region in guest.vm.bus if region.name == "uart0")
        assert (uart.reads, uart.writes) == (0, 1)


def leave_queued(vm: Vm) -> None:
    """Have nobody hear that a write has waited for long enough: it stays in the queue until the guest is left."""
    assert vm.machine.engine.served_mmio is not None
    asyncio.get_running_loop().remove_reader(vm.machine.engine.served_mmio.fileno())


async def test_a_paused_vm_has_carried_out_in_order_what_its_guest_has_written(boot: Booting, tmp_path: Path) -> None:
    async with boot("hello", kernel=_image(tmp_path, WRITE_THREE_AND_SPIN)) as guest:
        leave_queued(guest.vm)
        await guest.vm.start()
        while guest.vm.memory.read(WRITTEN, 1) != b"D":
            await asyncio.sleep(0)
        assert guest.console == "", "it has written, and all of it is in the queue"
        await guest.vm.pause()
        assert guest.console == "ABC"
        snapshot = take_snapshot(guest.vm)
        assert snapshot.state == "paused"
        assert [device.writes for device in snapshot.devices if device.name == "uart0"] == [3]
        assert guest.vm.vcpus[0].stats.exits_by_reason[ExitReason.MMIO_WRITE] == 3
        await guest.vm.resume()
        assert guest.console == "ABC"


async def _figures(boot: Booting, name: str, *, trapped: bool) -> tuple[bytes, list[tuple[int, int]], list[int]]:
    accesses: list[int] = []
    async with boot(name) as guest:
        if trapped:
            guest.vm.bus.trace = lambda address, write: accesses.append(write)
        await guest.run()
        exits = guest.vm.vcpus[0].stats.exits_by_reason
        counted = [exits[reason] for reason in (ExitReason.MMIO_READ, ExitReason.MMIO_WRITE)]
        if trapped:
            assert counted == [accesses.count(0), accesses.count(1)]
        return bytes(guest.written), [(region.reads, region.writes) for region in guest.vm.bus], counted


async def test_served_or_trapped_a_guest_writes_and_counts_the_same(boot: Booting) -> None:
    assert await _figures(boot, "hello", trapped=False) == await _figures(boot, "hello", trapped=True)
