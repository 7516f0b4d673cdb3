"""How the socket device and its guest share their buffers (virtio 1.2, 5.10.6.3)."""

from __future__ import annotations

import asyncio

import pytest

from avmm_virtio.vsock.connection import BUF_ALLOC, HELD
from avmm_virtio.vsock.packet import Op
from tests.unit.virtio.vsock.bench import TEXT, TX, Server, VsockBench


class _Stuck:
    """A socket that takes nothing."""

    unsent = BUF_ALLOC

    def close(self, why: str) -> None:
        pass


class TestCredit:
    """5.10.6.3: data is sent only where there is room for it."""

    async def test_the_guest_gets_no_more_than_it_has_room_for(self, bench: VsockBench) -> None:
        async with bench.running():
            _, writer, port = await bench.accepted()
            bench.say(Op.CREDIT_UPDATE, port, room=100)
            writer.write(TEXT[:250])
            assert (await bench.next(Op.RW))[1] == TEXT[:100]
            await bench.next(Op.CREDIT_REQUEST)
            bench.say(Op.CREDIT_UPDATE, port, room=100, fwd=0)
            await bench.quiet()  # it is not asked for ever
            bench.say(Op.CREDIT_UPDATE, port, room=100, fwd=30)
            assert (await bench.next(Op.RW))[1] == TEXT[100:130]
            await bench.next(Op.CREDIT_REQUEST)
            bench.say(Op.CREDIT_UPDATE, port, room=1000, fwd=130)
            assert (await bench.next(Op.RW))[1] == TEXT[130:250]
            writer.close()

    @pytest.mark.parametrize(("room", "fwd"), [(0, 0), (50, 1 << 31), (10, 0xFFFF_FFFF), (0xFFFF_FFFF, 5)])
    async def test_a_guest_that_counts_wrong_hurts_nobody_else(self, bench: VsockBench, room: int, fwd: int) -> None:
        async with bench.running():
            _, writer, port = await bench.accepted()
            bench.say(Op.CREDIT_UPDATE, port, room=room, fwd=fwd)
            writer.write(TEXT[:250])
            for _ in range(30):
                await asyncio.sleep(0)
                bench.collect()
            assert sum(header.size for header, _ in bench.packets) <= 250
            writer.close()

    async def test_counters_go_round(self, bench: VsockBench) -> None:
        async with bench.running():
            _, writer, port = await bench.accepted()
            (connection,) = bench.vsock._connections.values()
            connection._tx_cnt = 0xFFFF_FFF0
            bench.say(Op.CREDIT_UPDATE, port, room=40, fwd=0xFFFF_FFF0)
            writer.write(TEXT[:60])
            assert (await bench.next(Op.RW))[1] == TEXT[:40]
            await bench.next(Op.CREDIT_REQUEST)
            bench.say(Op.CREDIT_UPDATE, port, room=40, fwd=24)
            assert (await bench.next(Op.RW))[1] == TEXT[40:60]
            writer.close()

    async def test_a_slow_guest_stops_the_host(self, bench: VsockBench) -> None:
        async with bench.running():
            _, writer, port = await bench.accepted()
            bench.say(Op.CREDIT_UPDATE, port, room=1000)
            writer.write(TEXT)
            (connection,) = bench.vsock._connections.values()
            await bench.until(lambda: len(connection._data) >= HELD)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(connection._data) <= HELD + (1 << 18)
            got = 0
            async with asyncio.timeout(60):
                while True:
                    got += sum(len(data) for _, data in bench.packets)
                    bench.packets.clear()
                    if got == len(TEXT):
                        break
                    bench.say(Op.CREDIT_UPDATE, port, room=1 << 20, fwd=got)
                    await asyncio.sleep(0)
                    bench.collect()
            writer.close()

    async def test_a_slow_host_stops_the_guest(self, bench: VsockBench) -> None:
        async with bench.running(), Server(bench, 80) as server:
            bench.say(Op.REQUEST, 80)
            reader, writer = await server.accept()
            reader._limit = 1  # type: ignore[attr-defined]
            header, _ = await bench.next(Op.RESPONSE)
            sent = 0
            for _ in range(1000):
                if sent + 1000 - header.fwd_cnt > header.buf_alloc:
                    break
                bench.say(Op.RW, 80, TEXT[sent : sent + 1000])
                sent += 1000
                await bench.until(lambda: bench.used(TX) == bench.drivers[TX].available)
                while bench.packets:
                    header, _ = bench.packets.pop(0)
            assert BUF_ALLOC - 1000 <= sent - header.fwd_cnt <= BUF_ALLOC, "the host's kernel took something, we the rest"
            got = b""
            while len(got) < sent:
                got += await reader.read(1 << 16)
                bench.collect()
            assert got == TEXT[:sent]
            await bench.until(lambda: bench.packets)
            assert bench.packets[-1][0].op == Op.CREDIT_UPDATE
            assert sent - bench.packets[-1][0].fwd_cnt <= BUF_ALLOC // 2
            writer.close()

    async def test_who_sends_more_than_there_is_room_for_is_cut_off(self, bench: VsockBench) -> None:
        async with bench.running():
            _, writer, port = await bench.accepted()
            (connection,) = bench.vsock._connections.values()
            connection.host, stream = _Stuck(), connection.host  # type: ignore[assignment]
            connection._rx_cnt = BUF_ALLOC
            bench.say(Op.RW, port, b"x")
            await bench.next(Op.RST)
            assert bench.vsock.invalid == 1
            assert stream is not None
            stream.close("the test is over")
            writer.close()

    async def test_a_question_is_answered(self, bench: VsockBench) -> None:
        async with bench.running():
            _, writer, port = await bench.accepted()
            bench.say(Op.CREDIT_REQUEST, port)
            assert (await bench.next(Op.CREDIT_UPDATE))[0].buf_alloc == BUF_ALLOC
            writer.close()
