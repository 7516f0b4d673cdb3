"""Real guests on the real machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

import avmm

IMAGES = Path(__file__).parents[2] / "examples" / "guests" / "images"


class Boot:
    """A VM that runs one of our guests, and what its console wrote so far."""

    def __init__(self, guest: str, vcpus: int, **settings: object) -> None:
        kernel = IMAGES / (guest if "." in guest else f"{guest}.img")
        machine = avmm.MachineConfig(name=guest.split(".")[0], vcpus=vcpus, memory="128M", kernel=kernel)
        self.written = bytearray()
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self.vm = avmm.Vm(machine.with_overrides(settings), console=self._write)

    def _write(self, data: bytes) -> None:
        self.written += data
        self._loop.call_soon_threadsafe(self._more.set)

    @property
    def console(self) -> str:
        return self.written.decode()

    async def until(self, text: str) -> None:
        """Wait until the console has written `text`."""
        while text not in self.console:
            self._more.clear()
            await self._more.wait()

    async def run(self) -> avmm.Halt:
        """Start the guest, and wait for its end."""
        await self.vm.start()
        return await self.vm.halted()


Booting = Callable[..., AbstractAsyncContextManager[Boot]]


@pytest.fixture
def boot() -> Booting:
    """`async with boot("smp", 4, append="...") as guest:` builds a VM with one of our guests."""

    @asynccontextmanager
    async def booting(guest: str, vcpus: int = 1, **settings: object) -> AsyncIterator[Boot]:
        machine = Boot(guest, vcpus, **settings)
        try:
            async with machine.vm:
                yield machine
        finally:
            print(machine.console)  # all of it, beside a failure

    return booting
