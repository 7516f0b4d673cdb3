"""A socket device, its driver packet by packet, and programs of the host's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from avmm.clock import VirtualClock
from avmm_virtio import VirtioVsock
from avmm_virtio.sockets import UnixAddress, listen
from avmm_virtio.vsock.host import UnixHost
from avmm_virtio.vsock.packet import HEADER, HOST_CID, STREAM, Header, Op, parse
from tests.unit.virtio.many import ManyBench

CID = 42
TEXT = bytes(range(256)) * 4096
RX, TX = 0, 1
PORT = 1024
"""The guest's."""
ROOM = 1 << 16
"""The guest's for data, unless it says otherwise."""


class VsockBench(ManyBench):
    """Eight receive buffers of a page are always there, unless `hungry` is off."""

    def __init__(self, folder: Path, *, most: int = 1024) -> None:
        self.path = str(folder / "s")
        self.clock = VirtualClock()
        self.vsock = VirtioVsock(CID, UnixHost(self.path, listen(UnixAddress(self.path))), self.clock, most=most)
        self.packets: list[tuple[Header, bytes]] = []
        """What the guest was sent and nobody has asked for."""
        super().__init__(self.vsock, (0, 1, 2))
        self.feed()

    def feed(self, size: int = 4096) -> None:
        self.give(RX, *[size] * 8)

    def say(
        self, op: int, host_port: int, data: bytes = b"", *, port: int = PORT, flags: int = 0, room: int = ROOM, fwd: int = 0
    ) -> None:
        """A packet of the guest's."""
        header = Header(CID, HOST_CID, port, host_port, len(data), STREAM, op, flags, room, fwd)
        self.send(TX, header.pack() + data)

    def collect(self) -> None:
        """Take what came, and give new buffers for it."""
        found = self.got(RX)
        for packet in found:
            header = parse(packet)
            assert header is not None
            assert (header.src_cid >> 32, header.dst_cid, len(packet)) == (0, CID, HEADER + header.size)
            self.packets.append((header, packet[HEADER:]))
        if found:
            self.give(RX, *[4096] * len(found))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that comes with the event loop's turns."""
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0)
                self.collect()

    async def next(self, op: Op) -> tuple[Header, bytes]:
        """The next packet, which must be of this kind."""
        await self.until(lambda: self.packets)
        header, data = self.packets.pop(0)
        assert Op(header.op) is op
        return header, data

    async def quiet(self) -> None:
        """Nothing comes."""
        for _ in range(30):
            await asyncio.sleep(0)
            self.collect()
        assert self.packets == []

    async def visit(self, line: bytes = b"CONNECT %d\n" % PORT) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A program of the host's that asks for a port of the guest's."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(line)
        return reader, writer

    async def accepted(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
        """A connection that the host asked for and the guest took; the host's port of it."""
        reader, writer = await self.visit()
        request, _ = await self.next(Op.REQUEST)
        self.say(Op.RESPONSE, request.src_port)
        assert await asyncio.wait_for(reader.readline(), 60) == b"OK %d\n" % request.src_port
        return reader, writer, request.src_port


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    """What is there up to the end, which may come as an error."""
    data = b""
    with suppress(ConnectionError):
        while more := await asyncio.wait_for(reader.read(1 << 16), 60):
            data += more
    return data


class Server:
    """A program of the host's that listens where the guest connects to `port`."""

    def __init__(self, bench: VsockBench, port: int) -> None:
        self._path = f"{bench.path}_{port}"
        self._came: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_unix_server(lambda *streams: self._came.put_nowait(streams), self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def accept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.wait_for(self._came.get(), 60)
