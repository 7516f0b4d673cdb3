"""Linux's virtio transport of AF_VSOCK: streams between the guest and Unix sockets of the host."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

from tests.linux.conftest import Linux
from tests.linux.console import PATIENCE_S, Console

TEXT = random.Random(6).randbytes(2_000_000)
DIGEST = hashlib.sha256(TEXT).hexdigest()


async def until_listening(guest: Console, path: Path, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with a port where the guest is about to listen: before that it is refused, at once."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(f"CONNECT {port}\n".encode())
            if (await reader.readline()).startswith(b"OK "):
                return reader, writer
            writer.close()


async def test_the_guest_connects_to_the_host(linux: Linux, tmp_path: Path) -> None:
    socket = tmp_path / "vsock"
    came: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    async with (
        await asyncio.start_unix_server(lambda *streams: came.put_nowait(streams), f"{socket}_1234"),
        linux.boot("--vsock", f"{socket},cid=42") as guest,
    ):
        await guest.shell()
        # Both ways at once.
        guest.type(f"yes 0123456789abcde | head -c {len(TEXT)} | vsock connect 1234 | sha256sum; echo done")
        reader, writer = await asyncio.wait_for(came.get(), PATIENCE_S)
        writer.write(TEXT)
        writer.write_eof()
        got = await asyncio.wait_for(reader.read(), PATIENCE_S)
        assert (len(got), hashlib.sha256(got).digest()) == (
            len(TEXT),
            hashlib.sha256(b"0123456789abcde\n" * (len(TEXT) // 16)).digest(),
        )
        assert (await guest.expect("^([0-9a-f]{64})"))[1] == DIGEST
        await guest.expect("^done\n")
        writer.close()
        # Where nobody listens the guest is told so: ECONNRESET.
        refused = await guest.run("vsock connect 99 </dev/null")
        assert (refused.status, refused.text) == (1, "refused 104\n")
        assert await guest.power_off() == 0


async def test_the_host_connects_to_the_guest(linux: Linux, tmp_path: Path) -> None:
    socket = tmp_path / "vsock"
    async with linux.boot("--smp", "2", "--vsock", str(socket)) as guest:
        await guest.shell()
        guest.type("vsock listen 5 </dev/null | sha256sum; echo done")
        reader, writer = await until_listening(guest, socket, 5)
        writer.write(TEXT)
        writer.write_eof()
        assert (await guest.expect("^([0-9a-f]{64})"))[1] == DIGEST
        await guest.expect("^done\n")
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()

        # A slow guest: it reads nothing until it is told to, and the host waits; then it gets everything.
        guest.type("mkfifo /tmp/go; vsock listen 6 </dev/null | { read line </tmp/go; sha256sum; } & echo started")
        await guest.expect("^started\n")
        reader, writer = await until_listening(guest, socket, 6)
        writer.write(TEXT)
        writer.write_eof()
        guest.type("echo >/tmp/go")
        assert (await guest.expect("^([0-9a-f]{64})"))[1] == DIGEST
        writer.close()

        # Many at once.
        count = 20
        guest.type(f"for n in $(seq {count}); do echo number $n | vsock listen $((100 + n)) >/tmp/$n & done; echo started")
        await guest.expect("^started\n")
        streams = await asyncio.gather(*(until_listening(guest, socket, 101 + n) for n in range(count)))
        for number, (_, writer) in enumerate(streams, 1):
            writer.write(b"%d\n" % number)
            writer.write_eof()
        for number, (reader, writer) in enumerate(streams, 1):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b"number %d\n" % number
            writer.close()
        await guest.output(
            f'n=0; while [ $((n += 1)) -le {count} ]; do until [ "$(cat /tmp/$n)" = $n ]; do usleep 1000; done; done'
        )
        assert await guest.power_off() == 0
