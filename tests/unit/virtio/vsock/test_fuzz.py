"""A driver and programs that do as they please with a socket device."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from avmm_virtio.vsock.device import PATIENCE_NS
from avmm_virtio.vsock.packet import BOTH, HOST_CID, Header, Op
from tests.unit.virtio.fuzz import Step, drive, step, steps
from tests.unit.virtio.vsock.bench import CID, PORT, RX, TX, Server, VsockBench, to_the_end

_PACKETS = st.tuples(
    st.just("packet"),
    st.tuples(
        st.sampled_from([*Op, 9]),
        st.sampled_from([1 << 30, (1 << 30) + 1, 80, 81]),
        st.sampled_from([PORT, 1, 2]),
        st.sampled_from([0, 1, 100, 3000]),
        st.integers(0, 3),
        st.sampled_from([0, 10, 1 << 16, 0xFFFF_FFFF]),
        st.integers(0, 0xFFFF_FFFF),
    ),
)
_STEPS = steps(3, _PACKETS, _PACKETS, _PACKETS, step("feed", 4096), step("visit", 3), step("advance", 2), step("pause", 1))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(_STEPS)
def test_whatever_guest_and_host_do_it_goes_on(done: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_go_on(Path(folder), done))


async def _go_on(folder: Path, done: list[Step]) -> None:
    bench = VsockBench(folder, most=3)
    writers: list[asyncio.StreamWriter] = []
    life = asyncio.create_task(bench.device.run())
    await asyncio.sleep(0)
    async with Server(bench, 80) as server:
        for name, numbers in done:
            match name, numbers:
                case "packet", (op, host_port, port, size, flags, room, fwd):
                    header = Header(CID, HOST_CID, port, host_port, size, 1, op, flags, room, fwd)
                    bench.send(TX, header.pack() + b"x" * size)
                case "feed", (size,):
                    bench.give(RX, size)
                case "visit", (port,):
                    _, writer = await bench.visit(b"CONNECT %d\n" % port + b"y" * 100 * port)
                    writers.append(writer)
                case "advance", (times,):
                    bench.clock.advance(PATIENCE_NS * times // 2)
                case "pause", (pause,):
                    await (bench.device.quiesce() if pause else bench.device.resume())
                case _:
                    drive(bench, name, numbers)
            for _ in range(4):
                await asyncio.sleep(0)
            assert not life.done()
            assert len(bench.vsock._connections) <= 3
            assert len(bench.vsock._resets) <= 256
        await bench.device.resume()
        bench.restart()
        bench.feed()
        bench.packets.clear()
        await bench.until(lambda: not bench.vsock._connections and not bench.vsock._forget_all)
        for writer in writers:
            writer.close()
        await _works(bench, server)
    life.cancel()
    with suppress(asyncio.CancelledError):
        await life


async def _works(bench: VsockBench, server: Server) -> None:
    """A connection of the guest's comes about and ends, whatever others are still under way."""
    bench.say(Op.REQUEST, 80, port=777)
    await bench.until(lambda: any((header.dst_port, header.op) == (777, Op.RESPONSE) for header, _ in bench.packets))
    bench.say(Op.RW, 80, b"alive", port=777)
    bench.say(Op.SHUTDOWN, 80, port=777, flags=BOTH)
    heard = b""
    while heard != b"alive":
        reader, writer = await server.accept()
        heard = await to_the_end(reader)
        writer.close()
