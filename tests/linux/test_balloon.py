"""Linux's virtio-balloon driver: the guest lends memory, and the host's process gets smaller."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import avmm
from avmm_virtio import VirtioBalloon, VirtioMmio
from tests.linux.conftest import Linux
from tests.linux.console import PATIENCE_S, PROMPT
from tests.unit.virtio.test_balloon import resident

MIB = 1 << 20
FILL = 160
"""MiB that the guest uses and gives up."""


class Heard:
    """What a guest writes to its console."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._text = bytearray()
        self.all = bytearray()
        self._more = asyncio.Event()

    def __call__(self, data: bytes) -> None:
        self._text += data
        self.all += data
        self._loop.call_soon_threadsafe(self._more.set)

    async def expect(self, pattern: str) -> re.Match[str]:
        """Wait for something that matches, and forget all up to there."""
        compiled = re.compile(pattern, re.MULTILINE | re.DOTALL)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := compiled.search(self._text.decode(errors="replace"))) is None:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"the guest never said {pattern!r}: {self._text.decode(errors='replace')}") from None
        self._text.clear()
        return found


class Inside:
    """A machine in this process, its balloon, and its console."""

    def __init__(self, vm: avmm.Vm, console: Heard) -> None:
        self._vm, self._console = vm, console
        device = vm.device("balloon0")
        assert isinstance(device, VirtioMmio)
        assert isinstance(device.model, VirtioBalloon)
        self.balloon = device.model

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that the guest's driver does; the guest sleeps between two looks."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await self.output("usleep 10000")

    async def output(self, command: str) -> str:
        """What a command writes."""
        self._vm.console.input(f"echo be''gin; {command}; echo e''nd\r".encode())
        return (await self._console.expect(r"^begin\r?\n(?:(.*\n))?end\r?\n"))[1] or ""

    async def free(self) -> int:
        """The guest's free memory, in bytes."""
        return int((await self.output("grep MemFree /proc/meminfo")).split()[1]) << 10

    async def fill(self) -> None:
        """Use memory."""
        await self.output(f"dd if=/dev/zero of=/tmp/fill bs=1M count={FILL} 2>/dev/null")

    async def give_up(self) -> None:
        """Use it no more."""
        await self.output("rm /tmp/fill")


@asynccontextmanager
async def machine(linux: Linux, **options: object) -> AsyncIterator[Inside]:
    heard = Heard()
    config = avmm.MachineConfig(
        kernel=linux.kernel,
        initrd=linux.initrd,
        memory="384M",
        append="console=ttyAMA0 quiet",
        devices={"balloon0": {"kind": "virtio-balloon", **options}},
    )
    try:
        async with avmm.Vm(config, console=heard) as vm:
            await vm.start()
            await heard.expect(PROMPT)
            inside = Inside(vm, heard)
            yield inside
            assert inside.balloon.device.errors == inside.balloon.invalid == 0
            await vm.stop()
    finally:
        print(heard.all.decode(errors="replace"))  # beside a failure


async def test_it_grows_and_shrinks(linux: Linux) -> None:
    async with machine(linux, reporting=False, statistics=1) as guest:
        await guest.fill()
        await guest.give_up()
        free, ours, balloon = await guest.free(), resident(), guest.balloon
        balloon.set_target(FILL * MIB)
        await guest.until(lambda: balloon.size == FILL * MIB)
        assert balloon.discarded == FILL * MIB
        assert free - await guest.free() > (FILL - 16) * MIB
        assert ours - resident() > FILL // 2 * MIB
        await guest.until(lambda: 0 < balloon.statistics.get("free", 0) < free - (FILL - 16) * MIB)
        assert balloon.statistics["total"] > 200 * MIB
        balloon.set_target(0)
        await guest.until(lambda: balloon.size == 0)
        assert await guest.free() > free - 16 * MIB
        await guest.fill()  # what it has back it can use


async def test_free_pages_are_reported_by_themselves(linux: Linux) -> None:
    before = resident()
    async with machine(linux) as guest:
        await guest.fill()
        await guest.give_up()
        await guest.until(lambda: guest.balloon.discarded > FILL * MIB)
        # Linux goes on to report what is free, and nothing that is in use.
        await guest.fill()
        assert resident() - before > FILL * MIB


async def test_a_size_to_begin_with(linux: Linux) -> None:
    async with linux.boot("--device", "virtio-balloon,size=128M") as guest:
        await guest.shell()
        free = "sed -n 's/^MemFree: *\\([0-9]*\\) .*/\\1/p' /proc/meminfo"
        await guest.output(f"until [ $({free}) -lt 380000 ]; do usleep 10000; done")
        assert 300_000 < int(await guest.output(free)) < 380_000
        assert await guest.power_off() == 0
