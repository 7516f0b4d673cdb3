"""The host's ends of ports: sockets whose peers come and go, files, and the VM's console."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from avmm.lock import DeviceLock
from avmm.plugin import Console
from avmm_virtio import Chardev
from avmm_virtio.chardev.base import OutputChardev
from avmm_virtio.chardev.file import LIMIT, FileChardev
from avmm_virtio.chardev.stream import StreamChardev
from avmm_virtio.chardev.vm_console import ConsoleChardev
from avmm_virtio.one_peer import StreamClient, StreamServer
from avmm_virtio.sockets import UnixAddress, listen
from tests.unit.virtio.background import in_background

MEGABYTE = bytes(range(256)) * 4096


class Recorder:
    """Takes what it has room for, and remembers everything it was told."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.data = bytearray()
        self.ups: list[bool] = []
        self.sizes: list[tuple[int, int]] = []
        self.writables = 0
        self._changed = asyncio.Event()

    def receive(self, data: bytes) -> int:
        taken = data[: self.room]
        self.data += taken
        self.room -= len(taken)
        self._changed.set()
        return len(taken)

    def writable(self) -> None:
        self.writables += 1
        self._changed.set()

    def opened(self, *, up: bool) -> None:
        self.ups.append(up)
        self._changed.set()

    def resized(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that comes with one of the calls."""
        while not condition():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 60)


@asynccontextmanager
async def running(chardev: Chardev, room: int = 1 << 30) -> AsyncIterator[Recorder]:
    recorder = Recorder(room)
    chardev.connect(recorder)
    async with in_background(chardev.run()):
        await asyncio.sleep(0)
        yield recorder


class TestServer:
    async def test_a_peer_comes_talks_goes_and_comes_back(self, tmp_path: Path) -> None:
        chardev = StreamChardev("port", StreamServer(listen(UnixAddress(f"{tmp_path}/s"))))
        async with running(chardev) as port:
            for number in (1, 2):
                reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/s")
                await port.until(lambda number=number: port.ups.count(True) == number)
                assert chardev.write(b"to host") == 7
                assert await reader.readexactly(7) == b"to host"
                writer.write(b"to guest")
                await port.until(lambda number=number: port.data == b"to guest" * number)
                writer.close()
                await port.until(lambda number=number: port.ups == [True, False] * number)
                assert chardev.write(b"nobody") == 0
        assert not (tmp_path / "s").exists()

    async def test_what_a_peer_left_behind_is_not_lost(self, tmp_path: Path) -> None:
        chardev = StreamChardev("port", StreamServer(listen(UnixAddress(f"{tmp_path}/s"))))
        async with running(chardev, room=0) as port:
            _, writer = await asyncio.open_unix_connection(f"{tmp_path}/s")
            writer.write(MEGABYTE[:50_000])
            await writer.drain()
            writer.close()
            await port.until(lambda: port.ups)
            while len(port.data) < 50_000:
                port.room = 999
                chardev.resume()
                await asyncio.sleep(0)
            port.room = 1
            chardev.resume()
            await port.until(lambda: port.ups == [True, False])
            assert port.data == MEGABYTE[:50_000]

    async def test_a_second_peer_is_turned_away(self, tmp_path: Path) -> None:
        async with running(StreamChardev("port", StreamServer(listen(UnixAddress(f"{tmp_path}/s"))))) as port:
            _, first = await asyncio.open_unix_connection(f"{tmp_path}/s")
            await port.until(lambda: port.ups)
            reader, second = await asyncio.open_unix_connection(f"{tmp_path}/s")
            second.write(b"let me in")
            with suppress(ConnectionError):
                assert await reader.read() == b""
            second.close()
            first.write(b"still here")
            await port.until(lambda: port.data)
            assert (bytes(port.data), port.ups) == (b"still here", [True])
            first.close()

    async def test_a_peer_that_does_not_read_is_not_written_to_for_ever(self, tmp_path: Path) -> None:
        chardev = StreamChardev("port", StreamServer(listen(UnixAddress(f"{tmp_path}/s"))))
        async with running(chardev) as port:
            reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/s", limit=1 << 12)
            await port.until(lambda: port.ups)
            sent = 0
            while taken := chardev.write(MEGABYTE[:10_000]):
                sent += taken
                await asyncio.sleep(0)
                assert sent < 8 << 20
            left = sent
            while left:
                left -= len(await reader.read(1 << 16))
            await port.until(lambda: port.writables)
            assert chardev.write(b"more") == 4
            writer.close()


class TestClient:
    async def test_it_waits_for_its_peer_and_connects_again(self, tmp_path: Path) -> None:
        asleep: asyncio.Queue[float] = asyncio.Queue()

        async def sleep(seconds: float) -> None:
            await asleep.put(seconds)
            await asyncio.sleep(0)

        peers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        chardev = StreamChardev("port", StreamClient(UnixAddress(f"{tmp_path}/s"), reconnect_s=7, sleep=sleep))
        async with running(chardev) as port:
            assert await asyncio.wait_for(asleep.get(), 60) == 7
            server = await asyncio.start_unix_server(lambda _, writer: peers.put_nowait(writer), f"{tmp_path}/s")
            for number in (1, 2):
                writer = await asyncio.wait_for(peers.get(), 60)
                writer.write(b"hello")
                await port.until(lambda number=number: port.data == b"hello" * number)
                writer.close()
                await port.until(lambda number=number: port.ups == [True, False] * number)
            server.close()


class TestFile:
    async def test_what_is_written_is_appended_all_of_it_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"before ")
        chardev = FileChardev("port", path.open("ab", buffering=0))
        async with running(chardev):
            assert chardev.write(b"during ") == 7
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert chardev.write(b"last") == 4
        assert path.read_bytes() == b"before during last"

    async def test_more_than_a_slow_disk_takes_stays_with_the_guest(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        chardev = FileChardev("port", path.open("ab", buffering=0))
        assert chardev.write(MEGABYTE) == LIMIT
        assert chardev.write(MEGABYTE) == 0
        async with running(chardev) as port:
            await port.until(lambda: port.writables)
            assert chardev.write(b"x") == 1
        assert path.read_bytes() == MEGABYTE[:LIMIT] + b"x"

    async def test_a_disk_that_is_full_is_told_once_and_counted(self) -> None:
        class Full(io.BytesIO):
            name = "full"

            def write(self, data: object, /) -> int:
                raise OSError(28, "No space left on device")

        chardev = FileChardev("port", Full())
        async with running(chardev):
            chardev.write(b"12345")
        assert chardev.lost == 5


class TestConsole:
    def test_it_is_the_vms(self) -> None:
        written: list[bytes] = []
        lock = DeviceLock()
        console = Console(lock, written.append)
        chardev, port = ConsoleChardev(console), Recorder(room=3)
        chardev.connect(port)
        assert chardev.write(b"out") == 3
        console.input(b"typed")
        assert (written, bytes(port.data)) == ([b"out"], b"typ")
        port.room = 100
        chardev.resume()
        assert bytes(port.data) == b"typed"

    def test_what_is_pasted_is_kept_up_to_a_bound(self) -> None:
        console = Console(DeviceLock())
        chardev, port = ConsoleChardev(console), Recorder(room=0)
        chardev.connect(port)
        assert console.input(b"x" * console.LIMIT + b"yz") == console.LIMIT
        port.room = console.LIMIT
        chardev.resume()
        assert (bytes(port.data), chardev.lost) == (b"x" * console.LIMIT, 0)

    async def test_it_hears_of_the_terminals_size(self) -> None:
        console = Console(DeviceLock())
        console.resize(80, 25)
        chardev, port = ConsoleChardev(console), Recorder()
        chardev.connect(port)
        await chardev.run()
        console.resize(100, 30)
        assert port.sizes == [(80, 25), (100, 30)]


def test_output_that_nobody_wants_is_taken() -> None:
    assert OutputChardev().write(b"123") == 3
