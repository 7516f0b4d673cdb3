"""Network backends over stream sockets, with a peer that does anything."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avmm_virtio.framing import framed
from avmm_virtio.netdev import Netdev
from avmm_virtio.one_peer import StreamClient, StreamServer
from avmm_virtio.sockets import Address, TcpAddress, UnixAddress, listen, parse_address
from avmm_virtio.stream import StreamNetdev
from tests.unit.virtio.background import in_background
from tests.unit.virtio.net.receiver import Recorder

FRAME = bytes(range(60))


@asynccontextmanager
async def running(netdev: Netdev) -> AsyncIterator[Recorder]:
    """`netdev`, connected to a recorder, while it runs."""
    recorder = Recorder()
    netdev.connect(recorder)
    async with in_background(netdev.run()):
        yield recorder


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[tuple[StreamNetdev, Recorder, socket.socket]]:
    """A server with one peer, a plain socket."""
    server = StreamNetdev("net0", StreamServer(listen(UnixAddress(str(path)))))
    async with running(server) as recorder:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(0)
        await asyncio.get_running_loop().sock_connect(peer, str(path))
        with peer:
            await recorder.until(lambda: recorder.carriers)
            yield server, recorder, peer


async def receive(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await asyncio.get_running_loop().sock_recv(peer, size - len(data))
        assert part, "the backend hung up"
        data += part
    return data


async def test_frames_go_both_ways(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (server, recorder, peer):
        assert server.send([FRAME, b"x" * 14]) == 2
        assert await receive(peer, 4 + 60 + 4 + 14) == framed([FRAME, b"x" * 14])
        await asyncio.get_running_loop().sock_sendall(peer, framed([b"one", b"two"]))
        await recorder.until(lambda: len(recorder.frames) == 2)
        assert recorder.frames == [b"one", b"two"]


async def test_what_there_is_no_room_for_waits_in_order_and_nothing_more_is_read(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (server, recorder, peer):
        recorder.room = 1
        numbered = [bytes([number]) * 20_000 for number in range(200)]
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(peer, framed(numbered)))
        await recorder.until(lambda: recorder.frames)
        for _ in range(50):
            await asyncio.sleep(0)
        assert not sending.done(), "four megabytes went somewhere"
        assert len(recorder.frames) == 1
        while len(recorder.frames) < len(numbered):
            recorder.room = 3
            server.resume()
            await recorder.until(lambda: recorder.room == 0 or len(recorder.frames) == len(numbered))
        assert recorder.frames == numbered
        await sending


async def test_a_slow_peer_gets_no_more_than_a_bounded_amount_and_the_rest_when_it_reads(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (server, recorder, peer):
        frame, sent = b"y" * 60_000, 0
        while server.send([frame]):
            sent += 1
            assert sent < 100, "a peer that does not read makes memory grow"
        assert server.send([frame]) == 0
        await receive(peer, sent * (4 + len(frame)))
        await recorder.until(lambda: recorder.writables)
        assert server.send([frame]) == 1


async def test_frames_are_sent_without_the_event_loop_s_turn(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (server, _, peer):
        assert await asyncio.to_thread(server.send_at_once, [FRAME, b"x" * 14]) == 2
        assert peer.recv(1000) == framed([FRAME, b"x" * 14])


async def test_what_the_socket_takes_half_of_is_followed_by_its_other_half(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (server, _, peer):
        numbered = [bytes([number]) * 60_001 for number in range(100)]
        taken = server.send_at_once(numbered)
        assert 0 < taken < len(numbered)
        data = peer.recv(1 << 20)  # there is room now, and the event loop has had no turn
        assert server.send_at_once(numbered[taken:]) == 0, "a frame in the middle of another"
        taken += server.send(numbered[taken:])
        data += peer.recv(1 << 20)
        assert server.send_at_once([FRAME]) == 0, "older frames wait in the transport"
        expected = framed(numbered[:taken])
        assert data + await receive(peer, len(expected) - len(data)) == expected
        for _ in range(20):
            await asyncio.sleep(0)
        assert server.send_at_once([FRAME]) == 1
        assert await receive(peer, 64) == framed([FRAME])


async def test_the_other_half_comes_by_itself(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (server, _, peer):
        numbered = [bytes([number]) * 60_001 for number in range(100)]
        expected = framed(numbered[: server.send_at_once(numbered)])
        assert await receive(peer, len(expected)) == expected


async def test_hanging_up_closes_the_way_of_what_is_sent_at_once_too(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (server, recorder, peer):
        server.hang_up()
        assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
        await recorder.until(lambda: recorder.carriers == [True, False])
        assert server.send_at_once([FRAME]) == 0


async def test_a_second_peer_is_turned_away_and_the_first_stays(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (server, recorder, peer):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        assert await reader.read() == b""
        writer.close()
        server.send([FRAME])
        assert await receive(peer, 64) == framed([FRAME])
        assert (recorder.carriers, server.connections) == ([True], 1)


async def test_a_peer_that_goes_takes_the_carrier_and_another_brings_it_back(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (server, recorder, peer):
        peer.sendall(framed([FRAME])[:-1])
        peer.close()
        await recorder.until(lambda: recorder.carriers == [True, False])
        assert server.send([FRAME]) == 1
        assert (server.undelivered, recorder.frames) == (1, [])
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        await recorder.until(lambda: recorder.carriers == [True, False, True])
        writer.write(framed([b"again"]))
        await recorder.until(lambda: recorder.frames)
        assert recorder.frames == [b"again"]
        writer.close()


async def test_a_length_that_no_frame_has_ends_the_connection_and_is_counted(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (server, recorder, peer):
        peer.sendall(b"\x00\x02\x00\x00")
        await recorder.until(lambda: recorder.carriers == [True, False])
        assert server.malformed == 1


async def test_the_end_hangs_up_and_removes_the_path(tmp_path: Path) -> None:
    async with served(tmp_path / "s") as (_, _, peer):
        pass
    assert not (tmp_path / "s").exists()
    assert peer.fileno() == -1


class Peer:
    """A server for a client to find, or not."""

    def __init__(self, path: Path) -> None:
        self.path, self._accepted = path, asyncio.Queue[asyncio.StreamWriter]()
        self.sleeps: list[float] = []
        self.slept = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Instead of the time: sleeps until it is told that it has slept."""
        self.sleeps.append(seconds)
        self.slept.clear()
        await self.slept.wait()

    async def listen(self) -> asyncio.Server:
        async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._accepted.put_nowait(writer)

        return await asyncio.start_unix_server(accepted, self.path)

    async def hang_up(self) -> None:
        """Close the connection that the client made."""
        (await self._accepted.get()).close()


async def test_a_client_comes_back_after_a_while(tmp_path: Path) -> None:
    peer = Peer(tmp_path / "s")
    client = StreamNetdev("net0", StreamClient(UnixAddress(str(peer.path)), reconnect_s=2.5, sleep=peer.sleep))
    async with running(client) as recorder:
        while not peer.sleeps:
            await asyncio.sleep(0)
        assert (recorder.carriers, client.send([FRAME]), client.undelivered) == ([], 1, 1)
        async with await peer.listen():
            peer.slept.set()
            await recorder.until(lambda: recorder.carriers == [True])
            await peer.hang_up()
            await recorder.until(lambda: recorder.carriers == [True, False])
            while len(peer.sleeps) < 2:
                await asyncio.sleep(0)
            peer.slept.set()
            await recorder.until(lambda: recorder.carriers == [True, False, True])
            await peer.hang_up()
        assert peer.sleeps == [2.5, 2.5]
        assert client.connections == 2


async def test_a_client_told_not_to_comes_back_never(tmp_path: Path) -> None:
    client = StreamNetdev("net0", StreamClient(UnixAddress(str(tmp_path / "nobody")), reconnect_s=0))
    await asyncio.wait_for(client.run(), 60)


async def test_over_tcp_too() -> None:
    listening = listen(TcpAddress("127.0.0.1", 0))
    server = StreamNetdev("net0", StreamServer(listening))
    address = TcpAddress("", listening.getsockname()[1])
    async with running(server) as at_server, running(StreamNetdev("net1", StreamClient(address))) as at_client:
        await at_server.until(lambda: at_server.carriers)
        server.send([FRAME])
        await at_client.until(lambda: at_client.frames)
        assert at_client.frames == [FRAME]


_PEER_SAYS = st.lists(
    st.binary(max_size=60)
    | st.lists(st.binary(max_size=60), max_size=3).map(framed)
    | st.sampled_from([b"\0\0\0", b"\0\0\0\0", b"\0\1\0\x0d", b"\xff\xff\xff\xff", b"\0\1\0\x0e"]),
    max_size=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_PEER_SAYS, st.integers(0, 3))
def test_whatever_a_peer_sends_the_next_one_is_served(tmp_path: Path, says: list[bytes], room: int) -> None:
    async def scenario() -> None:
        path = tmp_path / "s"
        async with served(path) as (server, recorder, peer):
            recorder.room = room
            with suppress(OSError):
                for part in says:
                    await asyncio.get_running_loop().sock_sendall(peer, part)
                    await asyncio.sleep(0)
            peer.close()
            recorder.room = 1 << 30
            server.resume()
            await recorder.until(lambda: recorder.carriers[-1] is False)
            recorder.frames.clear()
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.write(framed([FRAME]))
            await recorder.until(lambda: recorder.frames)
            assert recorder.frames == [FRAME]
            writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/net", UnixAddress("/run/net")),
        ("unix:a:b", UnixAddress("a:b")),
        ("tcp:host:80", TcpAddress("host", 80)),
        ("tcp::80", TcpAddress("", 80)),
        ("tcp:[::1]:80", TcpAddress("::1", 80)),
    ],
)
def test_an_address_by_name(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "unix", "unix:", "udp:host:1", "tcp:host", "tcp:host:x", "unix:" + "x" * 108, "unix:\0"])
def test_a_name_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)


def test_a_path_whose_server_died_is_taken_over_and_one_in_use_is_not(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    listen(address).close()
    with listen(address), pytest.raises(OSError, match="in use"):
        listen(address)


def test_a_file_of_another_kind_stays(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(OSError):
        listen(UnixAddress(str(tmp_path / "s")))
    assert os.listdir(tmp_path) == ["s"]
