"""How connections of the socket device end (virtio 1.2, 5.10.6.5)."""

from __future__ import annotations

from pathlib import Path

from avmm_virtio.vsock.device import PATIENCE_NS
from avmm_virtio.vsock.packet import BOTH, Op, Shutdown
from tests.unit.virtio.vsock.bench import VsockBench, to_the_end


class TestEnd:
    async def test_the_guest_shuts_down_cleanly(self, bench: VsockBench) -> None:
        """SHUTDOWN of both directions is answered by RST when the host has everything (5.10.6.5)."""
        async with bench.running():
            reader, writer, port = await bench.accepted()
            bench.say(Op.RW, port, b"last words")
            bench.say(Op.SHUTDOWN, port, flags=BOTH)
            await bench.next(Op.RST)
            assert await reader.read() == b"last words"
            assert bench.vsock._connections == {}
            writer.close()

    async def test_the_guest_shuts_one_way_and_then_the_other(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer, port = await bench.accepted()
            bench.say(Op.SHUTDOWN, port, flags=Shutdown.SEND)
            assert await reader.read() == b""
            writer.write(b"still here")
            assert (await bench.next(Op.RW))[1] == b"still here"
            bench.say(Op.SHUTDOWN, port, flags=Shutdown.RECEIVE)
            await bench.next(Op.RST)
            writer.close()

    async def test_data_behind_the_guests_own_shutdown_is_an_error(self, bench: VsockBench) -> None:
        async with bench.running():
            _, writer, port = await bench.accepted()
            bench.say(Op.SHUTDOWN, port, flags=Shutdown.SEND)
            bench.say(Op.RW, port, b"x")
            await bench.next(Op.RST)
            writer.close()

    async def test_a_guest_that_does_not_listen_any_more_hears_nothing(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer, port = await bench.accepted()
            bench.say(Op.SHUTDOWN, port, flags=Shutdown.RECEIVE)
            await bench.quiet()
            writer.write(b"hello?")
            bench.say(Op.RW, port, b"out")
            assert await reader.readexactly(3) == b"out"
            await bench.quiet()
            writer.close()

    async def test_the_host_ends_its_half(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer, port = await bench.accepted()
            writer.write(b"done")
            writer.write_eof()
            await bench.next(Op.RW)
            assert (await bench.next(Op.SHUTDOWN))[0].flags == Shutdown.SEND
            bench.say(Op.RW, port, b"answer")
            assert await reader.readexactly(6) == b"answer"
            bench.say(Op.SHUTDOWN, port, flags=BOTH)
            await bench.next(Op.RST)
            writer.close()

    async def test_both_have_said_all(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer, port = await bench.accepted()
            bench.say(Op.SHUTDOWN, port, flags=Shutdown.SEND)
            assert await reader.read() == b""
            writer.write(b"the end")
            writer.write_eof()
            assert (await bench.next(Op.RW))[1] == b"the end"
            while (header := (await bench.next(Op.SHUTDOWN))[0]).flags != BOTH:
                assert header.flags == Shutdown.SEND
            bench.say(Op.RST, port)
            await bench.until(lambda: not bench.vsock._connections)
            writer.close()

    async def test_a_guest_that_does_not_confirm_is_reset_in_time(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer, port = await bench.accepted()
            bench.say(Op.SHUTDOWN, port, flags=Shutdown.SEND)
            assert await reader.read() == b""
            writer.write_eof()
            while (await bench.next(Op.SHUTDOWN))[0].flags != BOTH:
                pass
            bench.clock.advance(PATIENCE_NS - 1)
            await bench.quiet()
            bench.say(Op.RW, port, b"ignored")
            bench.clock.advance(1)
            await bench.next(Op.RST)
            assert bench.vsock._connections == {}
            writer.close()

    async def test_a_host_that_dies_resets_the_guest(self, bench: VsockBench) -> None:
        async with bench.running():
            _, writer, port = await bench.accepted()
            writer.transport.abort()
            await bench.until(lambda: bench.packets)
            bench.say(Op.RW, port, b"into nothing")
            bench.say(Op.RW, port, b"into nothing")
            await bench.until(lambda: any(header.op == Op.RST for header, _ in bench.packets))
            assert bench.vsock._connections == {}

    async def test_the_guest_resets(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer, port = await bench.accepted()
            bench.say(Op.RST, port)
            assert await to_the_end(reader) == b""
            await bench.quiet()
            assert bench.vsock._connections == {}
            writer.close()

    async def test_a_reset_of_the_device_hangs_up_and_begins_anew(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer, _ = await bench.accepted()
            _, waiting = await bench.visit(b"CONN")
            await bench.until(lambda: bench.vsock._visitors)
            bench.restart()
            assert await to_the_end(reader) == b""
            bench.feed()
            assert bench.vsock._connections == {}
            await bench.accepted()
            writer.close()
            waiting.close()

    async def test_the_end_of_the_machine_hangs_up(self, bench: VsockBench, tmp_path: Path) -> None:
        async with bench.running():
            reader, writer, _ = await bench.accepted()
        assert await reader.read() == b""
        assert not Path(bench.path).exists()
        writer.close()
