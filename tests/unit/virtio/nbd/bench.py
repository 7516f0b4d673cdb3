"""A disk of an NBD server with a driver in front, its device running on this event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from avmm_virtio.nbd.blockdev import NbdBlockdev
from avmm_virtio.nbd.uri import parse_uri
from avmm_virtio.registers import F_VERSION_1
from tests.unit.virtio.background import in_background
from tests.unit.virtio.block.disk import BlkBench

PATIENCE_S = 60


class NbdBench(BlkBench):
    """Requests that are waited for."""

    disk: NbdBlockdev

    async def request(self, kind: int, sector: int = 0, data: bytes = b"", room: int = 0) -> int:
        """Its status, once it has one."""
        number = self.put(kind, sector, data, room)
        self.notify()
        await self.until(lambda: self.device.queues[0].stats.depth == 0)
        return self.status(number)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0)


@asynccontextmanager
async def running(disk: NbdBlockdev, features: int = F_VERSION_1, *, writeback: bool = True) -> AsyncIterator[NbdBench]:
    bench = NbdBench(disk, features, writeback=writeback)
    async with in_background(bench.device.run()) as task:
        try:
            yield bench
        finally:
            assert not task.done(), task


async def opened(
    uri: str,
    *,
    read_only: bool = False,
    connections: int = 1,
    reconnect_s: float = 0.0,
    timeout_s: float = 0.0,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NbdBlockdev:
    """The disk, connected on a thread: its server may be on this loop."""
    return await asyncio.to_thread(
        lambda: NbdBlockdev(
            "disk0",
            parse_uri(uri),
            read_only=read_only,
            connections=connections,
            reconnect_s=reconnect_s,
            timeout_s=timeout_s,
            sleep=sleep,
        )
    )
