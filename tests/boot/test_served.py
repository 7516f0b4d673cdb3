"""The console of a real guest, whose accesses the engine serves: nothing is lost, late or uncounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from avmm import ExitReason

from .conftest import Booting

# Write `A` to UARTDR, then never leave the guest.
WRITE_AND_SPIN = (
    0xD2A12001,  # mov x1, #0x9000000
    0x52800822,  # mov w2, #0x41
    0xB9000022,  # str w2, [x1]
    0x14000000,  # b .
)


@pytest.fixture
def spinner(tmp_path: Path) -> Path:
    image = tmp_path / "spinner.img"
    image.write_bytes(b"".join(word.to_bytes(4, "little") for word in WRITE_AND_SPIN))
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
