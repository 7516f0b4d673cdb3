"""The NBD client with the servers there are: nbdkit and qemu-nbd."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from avmm.plugin import ConfigError, GuestMemory
from avmm_virtio import create_blk
from avmm_virtio.block.device import F_CONFIG_WCE, F_DISCARD, F_FLUSH, F_RO, F_WRITE_ZEROES
from avmm_virtio.block.request import RequestType
from avmm_virtio.nbd.blockdev import NbdBlockdev
from avmm_virtio.nbd.handshake import connect
from avmm_virtio.nbd.uri import parse_uri
from avmm_virtio.registers import F_VERSION_1
from tests.unit.virtio.block.disk import segment
from tests.unit.virtio.host import device_options
from tests.unit.virtio.nbd.bench import PATIENCE_S, NbdBench, opened, running

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = RequestType
SECTOR = bytes(range(256)) * 2
SIZE = 1 << 20

pytestmark = pytest.mark.skipif(
    not shutil.which("nbdkit") or not shutil.which("qemu-nbd"),
    reason="nbdkit or qemu-nbd is missing (Debian: apt-get install nbdkit qemu-utils)",
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Served(str):
    """The URI of what a server serves, and its process."""

    process: subprocess.Popen[bytes]

    def __new__(cls, uri: str, process: subprocess.Popen[bytes]) -> Served:
        served = super().__new__(cls, uri)
        served.process = process
        return served


@contextmanager
def server(*command: str, ready: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once the file `ready` is there, which it writes when it listens."""
    for left in (ready, ready.with_name("s")):
        left.unlink(missing_ok=True)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        for _ in range(PATIENCE_S * 100):
            if ready.exists() and ready.read_text().strip():
                break
            assert process.poll() is None, "the server ended"
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                pass
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def nbdkit(folder: Path, *arguments: str, port: int | None = None) -> Iterator[Served]:
    """nbdkit with these arguments; the URI of its default export."""
    where = ["-U", f"{folder}/s"] if port is None else ["-i", "127.0.0.1", "-p", str(port)]
    pid = folder / "nbdkit.pid"
    with server("nbdkit", "--foreground", "-P", str(pid), *where, *arguments, ready=pid) as process:
        yield Served(f"nbd+unix:///?socket={folder}/s" if port is None else f"nbd://127.0.0.1:{port}", process)


@contextmanager
def qemu_nbd(folder: Path, image: Path, *arguments: str) -> Iterator[str]:
    pid = folder / "qemu.pid"
    where = ("-k", f"{folder}/s", "--pid-file", str(pid), "--persistent")
    with server("qemu-nbd", *where, *arguments, str(image), ready=pid):
        yield f"nbd+unix:///?socket={folder}/s"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"\x55" * SIZE)
    return path


async def exercise(bench: NbdBench) -> None:
    """Everything once."""
    assert await bench.request(OUT, 3, SECTOR) == 0
    assert await bench.request(IN, 2, room=2048) == 0
    assert bench.data(1, 2048) == b"\x55" * 512 + SECTOR + b"\x55" * 1024
    assert await bench.request(FLUSH) == 0
    assert await bench.request(WRITE_ZEROES, 0, segment(3, 1) + segment(100, 100, 1)) == 0
    assert await bench.request(DISCARD, 0, segment(1024, 1024)) == 0
    assert await bench.request(IN, 3, room=1024) == 0
    assert bench.data(1, 1024) == bytes(512) + b"\x55" * 512


@asynccontextmanager
async def disk(uri: str, *, read_only: bool = False, connections: int = 1, features: int = 0) -> AsyncIterator[NbdBench]:
    async with running(await opened(uri, read_only=read_only, connections=connections), F_VERSION_1 | features) as bench:
        yield bench


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("tcp", [True, False])
async def test_nbdkit(tmp_path: Path, image: Path, *, structured: bool, tcp: bool) -> None:
    options = [] if structured else ["--no-sr"]
    with nbdkit(tmp_path, *options, "file", str(image), port=free_port() if tcp else None) as uri:
        async with disk(uri) as bench:
            assert bench.blk.features & (F_DISCARD | F_WRITE_ZEROES | F_RO) == F_DISCARD | F_WRITE_ZEROES
            await exercise(bench)
            assert bench.disk._export.structured is structured
    assert image.read_bytes()[: 1 << 19] == b"\x55" * 1536 + bytes(512) + b"\x55" * 96 * 512 + bytes(51200) + b"\x55" * (
        (1 << 19) - 200 * 512
    )


async def test_qemu_nbd_with_a_format_of_its_own(tmp_path: Path) -> None:
    image = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "1M"], check=True)
    subprocess.run(["qemu-io", "-c", "write -q -P 0x55 0 1M", str(image)], check=True, stdout=subprocess.DEVNULL)
    with qemu_nbd(tmp_path, image, "-f", "qcow2", "--discard=unmap") as uri:
        async with disk(uri, connections=4) as bench:
            await exercise(bench)
    out = subprocess.run(
        ["qemu-io", "-c", "read -P 0 1536 512", "-c", "read -P 0x55 0 1536", str(image)], capture_output=True, check=True
    )
    assert b"failed" not in out.stdout + out.stderr


async def test_an_old_server_by_the_exports_name(tmp_path: Path, image: Path) -> None:
    """Without NBD_OPT_GO."""
    with (
        nbdkit(tmp_path, "--mask-handshake=0", "file", str(image)) as uri,
        pytest.raises(Exception, match="does not speak the fixed newstyle"),
    ):
        await opened(uri)
    with (
        nbdkit(tmp_path, "--oldstyle", "file", str(image)) as uri,
        pytest.raises(Exception, match="does not speak the fixed newstyle"),
    ):
        await opened(uri)


async def test_several_connections_where_the_server_allows_them(tmp_path: Path) -> None:
    with nbdkit(tmp_path, "memory", str(SIZE)) as uri:
        async with disk(uri, connections=3) as bench:
            await bench.until(lambda: len(bench.disk._connections) == 3)
            numbers = [bench.put(OUT, sector, SECTOR) for sector in range(4)]
            bench.notify()
            await bench.until(lambda: all(bench.status(number) == 0 for number in numbers))
            assert await bench.request(FLUSH) == 0
    with nbdkit(tmp_path, "--filter=multi-conn", "memory", str(SIZE), "multi-conn-mode=disable") as uri:
        async with disk(uri, connections=3) as bench:
            assert await bench.request(OUT, 0, SECTOR) == 0
            assert len(bench.disk._connections) == 1


async def test_a_server_that_is_only_read(tmp_path: Path, image: Path) -> None:
    with nbdkit(tmp_path, "-r", "file", str(image)) as uri:
        with pytest.raises(Exception, match="the server lets nobody write it; readonly is what it can be"):
            await opened(uri)
        async with disk(uri, read_only=True) as bench:
            assert bench.blk.features & F_RO
            assert await bench.request(OUT, 0, SECTOR) == 1
            assert await bench.request(IN, 0, room=512) == 0


async def test_a_disk_without_cache_asks_for_it(tmp_path: Path, image: Path) -> None:
    """With FUA where the server knows it, with a flush behind every write where it does not."""
    for mode, flushes in (["fuamode=native"], 0), ([], 2):
        log = tmp_path / f"log-{flushes}"
        with nbdkit(tmp_path, "--filter=log", "--filter=fua", "file", str(image), *mode, f"logfile={log}") as uri:
            async with running(await opened(uri), F_VERSION_1 | F_FLUSH | F_CONFIG_WCE, writeback=False) as bench:
                assert await bench.request(OUT, 0, SECTOR) == 0
                assert await bench.request(WRITE_ZEROES, 0, segment(1, 1)) == 0
        lines = log.read_text().splitlines()
        assert sum(" Flush " in line for line in lines) == flushes, lines
        assert sum("fua=1" in line for line in lines) == (0 if flushes else 2), lines


async def test_errors_of_the_servers_are_the_requests(tmp_path: Path) -> None:
    with nbdkit(tmp_path, "--filter=error", "memory", str(SIZE), "error-pwrite=ENOSPC", "error-pwrite-rate=1") as uri:
        async with disk(uri) as bench:
            assert await bench.request(OUT, 0, SECTOR) == 1
            assert await bench.request(IN, 0, room=512) == 0
            assert (bench.blk.failed, bench.disk.losses) == (1, 0)


async def test_a_server_that_goes_fails_requests_and_its_successor_is_found(tmp_path: Path, image: Path) -> None:
    again = asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == 0.5
        await again.wait()

    with nbdkit(tmp_path, "file", str(image)) as served:
        it = await opened(served, reconnect_s=0.5, sleep=sleep)
        async with running(it, F_VERSION_1 | F_FLUSH | F_CONFIG_WCE) as bench:
            assert await bench.request(OUT, 0, SECTOR) == 0
            served.process.kill()
            await bench.until(lambda: it.losses == 1)
            assert await bench.request(IN, 0, room=512) == 1
            assert await bench.request(FLUSH) == 1
            with image.open("ab") as longer:
                longer.write(bytes(512))
            with nbdkit(tmp_path, "file", str(image)):
                again.set()
                await bench.until(lambda: not it._away)
                # What was written before had been completed and not flushed: nobody can say that it is durable.
                assert await bench.request(FLUSH) == 1
                assert await bench.request(FLUSH) == 0
                assert await bench.request(IN, 0, room=512) == 0
                assert bench.data(1, 512) == SECTOR
                assert bench.field(0, "Q") == SIZE // 512 + 1


@pytest.mark.parametrize(
    ("arguments", "export", "error"),
    [
        (["--filter=exportname", "memory", "1M", "exportname=a", "exportname-strict=true"], "b", "unix:FOLDER/s export 'b': "),
        (["memory", "100"], "", "has 100 bytes; a disk has 512 or more"),
        (["--tls=require", "--tls-psk=FOLDER/keys", "memory", "1M"], "", "the server wants TLS, which is not spoken here"),
    ],
)
async def test_a_refusal_is_one_line(tmp_path: Path, arguments: list[str], export: str, error: str) -> None:
    (tmp_path / "keys").write_text("alice:" + "0" * 64 + "\n")
    with nbdkit(tmp_path, *(argument.replace("FOLDER", str(tmp_path)) for argument in arguments)):
        with pytest.raises(ConfigError) as caught:
            create_blk(device_options(GuestMemory(), {"file": f"nbd+unix:///{export}?socket={tmp_path}/s"}))
        assert error.replace("FOLDER", str(tmp_path)) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_an_export_has_a_name(tmp_path: Path) -> None:
    with nbdkit(tmp_path, "--filter=exportname", "memory", "1M", "exportname=a b", "exportname-strict=true"):
        connection, export = connect(parse_uri(f"nbd+unix:///a%20b?socket={tmp_path}/s"))
        connection.close()
        assert export.size == SIZE


def test_the_description_has_it(tmp_path: Path) -> None:
    with nbdkit(tmp_path, "memory", "1M") as uri:
        device = create_blk(device_options(GuestMemory(), {"file": uri, "connections": 2, "reconnect": 0, "serial": "x"}))
        it = device.model._disk  # type: ignore[attr-defined]
        assert isinstance(it, NbdBlockdev)
        for each in it._sockets:
            each.close()
