"""The socket device (virtio 1.2, 5.10): connections from both sides, mistakes and limits."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from avmm.plugin import ConfigError, Device, DeviceOptions, GuestMemory
from avmm.testing.contract import DeviceContract
from avmm_virtio import create_vsock
from avmm_virtio.registers import CONFIG, F_VERSION_1, Register, Status
from avmm_virtio.vsock.connection import BUF_ALLOC
from avmm_virtio.vsock.device import FIRST_PORT, PATIENCE_NS
from avmm_virtio.vsock.packet import HEADER, HOST_CID, STREAM, Header, Op, Shutdown
from tests.unit.virtio.host import device_options
from tests.unit.virtio.vsock.bench import CID, PORT, RX, TX, Server, VsockBench, to_the_end


class TestContract(DeviceContract):
    def make_device(self, options: DeviceOptions) -> Device:
        return create_vsock(replace(options, options={"socket": f"/tmp/avmm-{uuid.uuid4()}"}))


def test_the_guests_cid_stands_in_the_configuration(bench: VsockBench) -> None:
    assert (bench.read(CONFIG), bench.read(CONFIG + 4)) == (CID, 0)


class TestGuestConnects:
    async def test_to_a_socket_that_is_there(self, bench: VsockBench) -> None:
        async with bench.running(), Server(bench, 80) as server:
            bench.say(Op.REQUEST, 80)
            reader, writer = await server.accept()
            response, _ = await bench.next(Op.RESPONSE)
            assert response == Header(HOST_CID, CID, 80, PORT, 0, STREAM, Op.RESPONSE, 0, BUF_ALLOC, 0)
            bench.say(Op.RW, 80, b"to host")
            assert await reader.readexactly(7) == b"to host"
            writer.write(b"to guest")
            header, data = await bench.next(Op.RW)
            assert (header.fwd_cnt, header.size, data) == (7, 8, b"to guest")
            writer.close()

    async def test_to_one_that_is_not(self, bench: VsockBench) -> None:
        async with bench.running():
            bench.say(Op.REQUEST, 81)
            assert (await bench.next(Op.RST))[0].src_port == 81
            assert bench.vsock._connections == {}

    async def test_and_gives_up_before_the_host_has_answered(self, bench: VsockBench) -> None:
        async with bench.running(), Server(bench, 80) as server:
            bench.say(Op.REQUEST, 80)
            bench.say(Op.RST, 80)
            reader, writer = await server.accept()
            assert await reader.read() == b""
            writer.close()
            await bench.quiet()

    async def test_twice_at_the_same_address_is_an_error(self, bench: VsockBench) -> None:
        async with bench.running(), Server(bench, 80) as server:
            bench.say(Op.REQUEST, 80)
            reader, writer = await server.accept()
            await bench.next(Op.RESPONSE)
            bench.say(Op.REQUEST, 80)
            await bench.next(Op.RST)
            assert await reader.read() == b""
            writer.close()


class TestHostConnects:
    async def test_to_a_port_of_the_guests(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer = await bench.visit()
            request, _ = await bench.next(Op.REQUEST)
            assert request == Header(HOST_CID, CID, FIRST_PORT, PORT, 0, STREAM, Op.REQUEST, 0, BUF_ALLOC, 0)
            bench.say(Op.RESPONSE, FIRST_PORT)
            assert await reader.readline() == b"OK 1073741824\n"
            writer.write(b"hello")
            assert (await bench.next(Op.RW))[1] == b"hello"
            bench.say(Op.RW, FIRST_PORT, b"back")
            assert await reader.readexactly(4) == b"back"
            writer.close()

    async def test_and_speaks_before_it_is_answered(self, bench: VsockBench) -> None:
        async with bench.running():
            _, writer = await bench.visit(b"CONNECT 1024\nearly")
            writer.write_eof()
            await bench.next(Op.REQUEST)
            await bench.quiet()
            bench.say(Op.RESPONSE, FIRST_PORT)
            assert (await bench.next(Op.RW))[1] == b"early"
            assert (await bench.next(Op.SHUTDOWN))[0].flags == Shutdown.SEND
            writer.close()

    async def test_where_nobody_listens(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer = await bench.visit()
            await bench.next(Op.REQUEST)
            bench.say(Op.RST, FIRST_PORT)
            assert await to_the_end(reader) == b""
            writer.close()

    async def test_a_guest_that_does_not_answer(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer = await bench.visit()
            await bench.next(Op.REQUEST)
            bench.clock.advance(PATIENCE_NS)
            await bench.next(Op.RST)
            assert await reader.read() == b""
            writer.close()

    @pytest.mark.parametrize(
        "line", [b"\n", b"connect 5\n", b"CONNECT\n", b"CONNECT 4294967296\n", b"CONNECT -1\n", b"CONNECT 5 6\n", b"x" * 40]
    )
    async def test_who_asks_for_nothing_is_sent_away(self, bench: VsockBench, line: bytes) -> None:
        async with bench.running():
            reader, writer = await bench.visit(line)
            assert await to_the_end(reader) == b""
            writer.close()
            await bench.quiet()

    async def test_the_line_may_come_in_pieces_and_end_in_crlf(self, bench: VsockBench) -> None:
        async with bench.running():
            _, writer = await bench.visit(b"CONN")
            await bench.quiet()
            writer.write(b"ECT 7\r\n")
            assert (await bench.next(Op.REQUEST))[0].dst_port == 7
            writer.close()

    async def test_who_says_nothing_is_sent_away_in_time(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer = await bench.visit(b"CONN")
            await bench.until(lambda: bench.vsock._visitors)
            bench.clock.advance(PATIENCE_NS)
            assert await to_the_end(reader) == b""
            writer.close()

    async def test_each_has_a_port_of_its_own(self, bench: VsockBench) -> None:
        async with bench.running():
            bench.vsock._next_port = 2 * FIRST_PORT - 1
            writers = [(await bench.visit())[1] for _ in range(3)]
            ports = [(await bench.next(Op.REQUEST))[0].src_port for _ in range(3)]
            assert ports == [2 * FIRST_PORT - 1, FIRST_PORT, FIRST_PORT + 1]
            bench.vsock._next_port = FIRST_PORT
            writers.append((await bench.visit())[1])
            assert (await bench.next(Op.REQUEST))[0].src_port == FIRST_PORT + 2
            for writer in writers:
                writer.close()


class TestMistakes:
    @pytest.mark.parametrize("op", [Op.RESPONSE, Op.RW, Op.SHUTDOWN, Op.CREDIT_UPDATE, Op.CREDIT_REQUEST, Op.INVALID, 99])
    async def test_what_belongs_to_no_connection_is_reset(self, bench: VsockBench, op: int) -> None:
        async with bench.running():
            bench.say(op, 5)
            assert (await bench.next(Op.RST))[0] == Header(HOST_CID, CID, 5, PORT, 0, STREAM, Op.RST)

    async def test_a_reset_is_not_answered(self, bench: VsockBench) -> None:
        async with bench.running():
            bench.say(Op.RST, 5)
            await bench.quiet()

    @pytest.mark.parametrize("op", [Op.INVALID, Op.REQUEST, Op.RESPONSE, 8, 0xFFFF])
    async def test_what_makes_no_sense_on_a_connection_ends_it(self, bench: VsockBench, op: int) -> None:
        async with bench.running():
            _, writer, port = await bench.accepted()
            bench.say(op, port)
            await bench.next(Op.RST)
            writer.close()

    @pytest.mark.parametrize("kind", [0, 2, 3, 0xFFFF])
    async def test_an_unknown_type_is_reset(self, bench: VsockBench, kind: int) -> None:
        """5.10.6.4.2."""
        async with bench.running():
            bench.send(TX, Header(CID, HOST_CID, PORT, 80, 0, kind, Op.REQUEST).pack())
            assert (await bench.next(Op.RST))[0].type == kind

    async def test_a_host_that_there_is_not_is_reset(self, bench: VsockBench) -> None:
        async with bench.running():
            bench.send(TX, Header(CID, 7, PORT, 80, 0, STREAM, Op.REQUEST).pack())
            assert (await bench.next(Op.RST))[0].src_cid == 7

    @pytest.mark.parametrize(
        "packet",
        [
            b"",
            b"x" * (HEADER - 1),
            Header(CID + 1, HOST_CID, PORT, 80, 0, STREAM, Op.REQUEST).pack(),
            Header(CID, HOST_CID, PORT, 80, 5, STREAM, Op.RW).pack() + b"1234",
            Header(CID, HOST_CID, PORT, 80, 0xFFFF_FFFF, STREAM, Op.RW).pack(),
        ],
    )
    async def test_a_packet_that_is_none_is_counted(self, bench: VsockBench, packet: bytes) -> None:
        async with bench.running():
            bench.send(TX, packet)
            await bench.until(lambda: bench.used(TX) == 1)
            await bench.quiet()
            assert bench.vsock.invalid == 1

    async def test_a_receive_buffer_without_room_stops_the_device(self, bench: VsockBench) -> None:
        async with bench.running():
            bench.restart()
            bench.give(RX, HEADER)
            bench.say(Op.RW, 5)
            await bench.until(lambda: bench.read(Register.STATUS) & Status.NEEDS_RESET)
            assert bench.faults == ["virtio: testdev: a receive buffer of 44 bytes"]


class TestLimits:
    async def test_connections(self, tmp_path: Path) -> None:
        bench = VsockBench(tmp_path, most=2)
        async with bench.running(), Server(bench, 80):
            for port in (1, 2, 3):
                bench.say(Op.REQUEST, 80, port=port)
            await bench.until(lambda: len(bench.packets) == 3)
            assert {header.dst_port: Op(header.op) for header, _ in bench.packets} == {
                1: Op.RESPONSE,
                2: Op.RESPONSE,
                3: Op.RST,
            }
            reader, writer = await bench.visit()
            assert await to_the_end(reader) == b""
            assert bench.vsock.refused == 2
            writer.close()

    async def test_visitors(self, tmp_path: Path) -> None:
        bench = VsockBench(tmp_path, most=1)
        async with bench.running():
            _, first = await bench.visit(b"CONN")
            await bench.until(lambda: bench.vsock._visitors)
            reader, second = await bench.visit(b"CONN")
            assert await to_the_end(reader) == b""
            first.close()
            second.close()

    async def test_a_guest_that_takes_no_answers_is_not_listened_to_for_ever(self, bench: VsockBench) -> None:
        """5.10.6.1.2: as long as there is room for the answers, and no longer; nothing is lost then."""
        async with bench.running():
            bench.restart()
            for number in range(256):
                bench.say(Op.RW, number)
                await bench.until(lambda number=number: bench.used(TX) == number + 1)
            bench.say(Op.RW, 256)
            await bench.quiet()
            assert bench.used(TX) == len(bench.vsock._resets) == 256
            bench.feed()
            await bench.until(lambda: bench.used(TX) == bench.drivers[TX].available)
            await bench.until(lambda: len(bench.packets) == bench.drivers[TX].available)

    async def test_nothing_moves_while_the_machine_is_paused(self, bench: VsockBench) -> None:
        async with bench.running():
            reader, writer, port = await bench.accepted()
            await bench.device.quiesce()
            writer.write(b"in")
            bench.say(Op.RW, port, b"out")
            await bench.quiet()
            assert bench.used(TX) == 1
            await bench.device.resume()
            assert (await bench.next(Op.RW))[1] == b"in"
            assert await reader.readexactly(3) == b"out"
            writer.close()

    async def test_before_the_driver_visitors_wait(self, bench: VsockBench) -> None:
        async with bench.running():
            bench.write(Register.STATUS, 0)
            await bench.quiet()
            _, writer = await bench.visit()
            await bench.until(lambda: bench.vsock._connections)
            bench.start(F_VERSION_1)
            bench.feed()
            await bench.next(Op.REQUEST)
            writer.close()


@pytest.mark.parametrize(
    ("table", "key", "text"),
    [
        ({}, "socket", "missing: the path of a Unix socket"),
        ({"socket": 5}, "socket", "5 is not a path of 1 to 96 bytes: a port goes behind it"),
        ({"socket": ""}, "socket", "'' is not a path"),
        ({"socket": "/tmp/" + "x" * 92}, "socket", "is not a path of 1 to 96 bytes"),
        ({"socket": "/no/such/folder/s"}, "socket", "cannot listen at /no/such/folder/s: No such file"),
        ({"socket": "/tmp/x", "cid": 2}, "cid", "2 is not a whole number from 3 to 4294967294"),
        ({"socket": "/tmp/x", "cid": 0xFFFF_FFFF}, "cid", "4294967295 is not a whole number"),
        ({"socket": "/tmp/x", "connections": 0}, "connections", "0 is not a whole number from 1 to 65536"),
        ({"socket": "/tmp/x", "port": 1}, "port", "no such setting of a virtio-vsock"),
    ],
)
def test_a_mistake_in_its_table_is_named(table: dict[str, object], key: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_vsock(device_options(GuestMemory(), table))
    assert caught.value.key == f"devices.testdev.{key}"
    assert text in str(caught.value)
