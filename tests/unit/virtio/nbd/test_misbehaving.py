"""The NBD client with a server that does what no server should."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm_virtio.block.request import RequestType
from avmm_virtio.nbd.connection import NbdConnection
from avmm_virtio.nbd.export import Export
from avmm_virtio.nbd.handshake import connect
from avmm_virtio.nbd.order import Order
from avmm_virtio.nbd.protocol import (
    GREETING,
    NBD_MAGIC,
    OLDSTYLE_MAGIC,
    OPTION_MAGIC,
    OPTION_REPLY_MAGIC,
    REQUEST,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
    Command,
    NbdError,
)
from avmm_virtio.nbd.uri import parse_uri
from avmm_virtio.sockets import TcpAddress, UnixAddress
from tests.unit.virtio.nbd.bench import NbdBench, opened, running

IN, OUT, FLUSH, *_ = RequestType
SIZE = 1 << 16
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Answer = Callable[[Reader, Writer, int, int, int], Awaitable[None]]
"""Told cookie, offset and size of a read."""


def said(option: int, kind: int, data: bytes = b"") -> bytes:
    """An option's answer."""
    return struct.pack(">QIII", OPTION_REPLY_MAGIC, option, kind, len(data)) + data


def export(size: int = SIZE, flags: int = 0x65) -> bytes:
    return said(7, 3, struct.pack(">HQH", 0, size, flags)) + said(7, 1)


HELLO = GREETING.pack(NBD_MAGIC, OPTION_MAGIC, 3)


async def talk(reader: Reader, writer: Writer, *answers: bytes) -> None:
    """The greeting, then these answers to the options as they come."""
    writer.write(HELLO)
    await reader.readexactly(4)
    for answer in answers:
        _, _, size = struct.unpack(">QII", await reader.readexactly(16))
        await reader.readexactly(size)
        writer.write(answer)


@asynccontextmanager
async def serving(path: Path, serve: Callable[[Reader, Writer], Awaitable[None]]) -> AsyncIterator[str]:
    async def guarded(reader: Reader, writer: Writer) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(guarded, path / "s")
    async with server:
        yield f"nbd+unix:///x?socket={path}/s"


STRUCTURED, SIMPLE = said(8, 1), said(8, (1 << 31) | 1)


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n"], "is no NBD server"),
        ([GREETING.pack(NBD_MAGIC, OLDSTYLE_MAGIC, 0)], "does not speak the fixed newstyle handshake"),
        ([GREETING.pack(NBD_MAGIC, OPTION_MAGIC, 0)], "does not speak the fixed newstyle handshake"),
        ([HELLO[:9]], "the server hung up in the handshake"),
        ([HELLO, bytes(20)], "answers what was not asked"),
        ([HELLO, said(9, 1)], "answers what was not asked"),
        ([HELLO, struct.pack(">QIII", OPTION_REPLY_MAGIC, 8, 1, 1 << 30)], "answers what was not asked"),
        ([HELLO, SIMPLE, said(7, 1)], "the server does not say how large it is"),
        ([HELLO, SIMPLE, said(7, 3, b"\0\0") * 100], "the server does not come to an end"),
        ([HELLO, SIMPLE, said(7, (1 << 31) | 6, b"no\nsuch\tthing")], "there is no such export (no such thing)"),
        ([HELLO, SIMPLE, said(7, (1 << 31) | 2)], "the server does not allow it"),
        ([HELLO, SIMPLE, said(7, 77)], "an answer of kind 77"),
        ([HELLO, SIMPLE, said(7, (1 << 31) | 1)], "refused: there is no such export, perhaps"),
        ([HELLO, SIMPLE, export(1 << 63)], "a disk has 512 or more"),
        ([HELLO, SIMPLE, said(7, 3, struct.pack(">HIII", 3, 8192, 8192, 1 << 25)) + export()], "are not those of a disk"),
        ([HELLO, SIMPLE, said(7, 3, struct.pack(">HIII", 3, 0, 0, 0)) + export()], "are not those of a disk"),
    ],
)
async def test_a_handshake_that_goes_wrong_is_one_line(tmp_path: Path, answers: list[bytes], error: str) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        writer.write(answers[0])
        if len(answers) > 1:
            await reader.readexactly(4)
        for answer in answers[1:]:
            _, _, size = struct.unpack(">QII", await reader.readexactly(16))
            await reader.readexactly(size)
            writer.write(answer)
        if answers[-1].endswith(b"\x80\0\0\x01\0\0\0\0") and len(answers) == 3:
            await reader.readexactly(17)  # NBD_OPT_EXPORT_NAME, and no more

    async with serving(tmp_path, serve) as uri:
        with pytest.raises(NbdError) as caught:
            await opened(uri)
        assert error in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


async def test_a_server_without_go_is_asked_by_name(tmp_path: Path) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await talk(reader, writer, SIMPLE, said(7, (1 << 31) | 1))
        assert await reader.readexactly(17) == struct.pack(">QIIc", OPTION_MAGIC, 1, 1, b"x")
        writer.write(struct.pack(">QH", SIZE, 1))
        await reader.read()

    async with serving(tmp_path, serve) as uri:
        disk = await opened(uri)
        assert (disk.capacity, disk.can_discard) == (SIZE, False)
        disk._sockets[0].close()


async def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.read()

    async with serving(tmp_path, serve) as uri:
        with pytest.raises(NbdError, match=r"broke off in the handshake: timed out"):
            await asyncio.to_thread(connect, parse_uri(uri), 0.01)


def simple(cookie: int, data: bytes = b"", error: int = 0) -> bytes:
    return struct.pack(">IIQ", SIMPLE_REPLY_MAGIC, error, cookie) + data


def chunk(cookie: int, kind: int, data: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">IHHQI", STRUCTURED_REPLY_MAGIC, flags, kind, cookie, len(data)) + data


@asynccontextmanager
async def answering(folder: Path, answer: Answer, *, structured: bool = True) -> AsyncIterator[NbdBench]:
    async def serve(reader: Reader, writer: Writer) -> None:
        await talk(reader, writer, STRUCTURED if structured else SIMPLE, export())
        while True:
            _, _, command, cookie, offset, size = REQUEST.unpack(await reader.readexactly(REQUEST.size))
            if command == Command.DISCONNECT:
                return
            await answer(reader, writer, cookie, offset, size)

    async with serving(folder, serve) as uri, running(await opened(uri)) as bench:
        yield bench


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (lambda c, at, n: b"garbage!" * 4, "begins with"),
        (lambda c, at, n: simple(c + 1), "nothing that was asked"),
        (lambda c, at, n: chunk(c, 1, struct.pack(">Q", at - 512) + bytes(512)), "in answer to"),
        (lambda c, at, n: chunk(c, 1, struct.pack(">Q", at + n) + bytes(512)), "in answer to"),
        (lambda c, at, n: chunk(c, 1, struct.pack(">Q", at) + bytes(n + 1)), "a chunk of kind 1"),
        (lambda c, at, n: chunk(c, 1, b"1234"), "a chunk of kind 1"),
        (lambda c, at, n: chunk(c, 2, struct.pack(">QI", at, 0xFFFF_FFFF)), "in answer to"),
        (lambda c, at, n: chunk(c, 5, bytes(12)), "a chunk of kind 5"),
        (lambda c, at, n: chunk(c, 0x8001, bytes(3)), "a chunk of kind"),
        (lambda c, at, n: chunk(c, 0x8001, bytes(70_000)), "a chunk of kind"),
        (lambda c, at, n: 2 * chunk(c, 1, struct.pack(">Q", at) + bytes(n)), "in answer to"),
        (lambda c, at, n: b"", "hung up"),
    ],
)
async def test_an_answer_against_the_rules_ends_the_connection(
    tmp_path: Path, answers: Callable[[int, int, int], bytes], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer(reader: Reader, writer: Writer, cookie: int, offset: int, size: int) -> None:
        writer.write(answers(cookie, offset, size))
        await writer.drain()
        writer.close()

    async with answering(tmp_path, answer) as bench:
        assert await bench.request(IN, 8, room=1024) == 1
        await bench.until(lambda: bench.disk.losses == 1)
        assert await bench.request(OUT, 0, bytes(512)) == 1
        assert bench.blk.failed == 2
        assert bench.faults == [], "the guest did nothing wrong"


@pytest.mark.parametrize(("error", "status"), [(0, 0), (95, 2), (28, 1), (5, 1), (108, 1), (12345, 1)])
@pytest.mark.parametrize("structured", [True, False])
async def test_errors(tmp_path: Path, error: int, status: int, *, structured: bool) -> None:
    async def answer(reader: Reader, writer: Writer, cookie: int, offset: int, size: int) -> None:
        if structured and error:
            writer.write(chunk(cookie, 0x8002, struct.pack(">IHQ", error, 0, offset)) + chunk(cookie, 0, flags=1))
        elif structured:
            writer.write(chunk(cookie, 2, struct.pack(">QI", offset, 512)))
            writer.write(chunk(cookie, 1, struct.pack(">Q", offset + 512) + b"\xaa" * 512, flags=1))
        else:
            writer.write(simple(cookie, b"" if error else bytes(512) + b"\xaa" * 512, error))

    async with answering(tmp_path, answer, structured=structured) as bench:
        assert await bench.request(IN, 8, room=1024) == status
        assert error or bench.data(0, 1024) == bytes(512) + b"\xaa" * 512
        assert bench.disk.losses == 0


async def test_a_read_of_which_a_part_never_came_fails(tmp_path: Path) -> None:
    async def answer(reader: Reader, writer: Writer, cookie: int, offset: int, size: int) -> None:
        writer.write(chunk(cookie, 1, struct.pack(">Q", offset) + bytes(512), flags=1))

    async with answering(tmp_path, answer) as bench:
        assert await bench.request(IN, 0, room=1024) == 1


class Watch:
    """A clock of which the test moves the hands."""

    def __init__(self) -> None:
        self.slept = 0
        self._turn = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        assert seconds == 30
        self.slept += 1
        turn = self._turn
        await turn.wait()

    def let_pass(self) -> None:
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()


async def test_a_server_that_owes_answers_and_gives_none_is_lost(tmp_path: Path) -> None:
    watch, answers = Watch(), asyncio.Semaphore(0)

    async def answer(reader: Reader, writer: Writer, cookie: int, offset: int, size: int) -> None:
        await answers.acquire()
        writer.write(simple(cookie, bytes(size)))

    async def serve(reader: Reader, writer: Writer) -> None:
        await talk(reader, writer, SIMPLE, export())
        while True:
            _, _, command, *rest = REQUEST.unpack(await reader.readexactly(REQUEST.size))
            if command == Command.DISCONNECT:
                return
            await answer(reader, writer, *rest)

    async with serving(tmp_path, serve) as uri:
        disk = await opened(uri, timeout_s=30, sleep=watch.sleep)
        async with running(disk) as bench:
            await bench.until(lambda: watch.slept == 1)
            watch.let_pass()
            await bench.until(lambda: watch.slept == 2)  # it owed nothing
            numbers = [bench.put(IN, 0, room=512) for _ in range(2)]
            bench.notify()
            await bench.until(lambda: bool(disk._connections) and disk._connections[0].waiting == 2)
            watch.let_pass()
            await bench.until(lambda: watch.slept == 3)  # not for so long
            answers.release()
            await bench.until(lambda: bench.status(numbers[0]) == 0)
            watch.let_pass()
            await bench.until(lambda: watch.slept == 4)  # it gave one
            assert (disk.losses, bench.status(numbers[1])) == (0, 0xFF)
            watch.let_pass()
            await bench.until(lambda: disk.losses == 1)
            assert bench.status(numbers[1]) == 1


async def test_after_a_reset_an_answer_goes_nowhere(tmp_path: Path) -> None:
    asked, let_go = asyncio.Event(), asyncio.Event()

    async def answer(reader: Reader, writer: Writer, cookie: int, offset: int, size: int) -> None:
        asked.set()
        await let_go.wait()
        writer.write(chunk(cookie, 1, struct.pack(">Q", offset) + b"\xaa" * size, flags=1))

    async with answering(tmp_path, answer) as bench:
        number = bench.put(IN, 0, room=512)
        bench.notify()
        await asyncio.wait_for(asked.wait(), 60)
        bench.write(0x70, 0)
        let_go.set()
        await bench.until(lambda: bench.blk._under_way == 0)
        assert bench.data(number, 512) == bytes(512)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.lists(st.sampled_from([0, 1, 2, 5, 0x8001, 0x8002, 0x9000]), max_size=5))
def test_whatever_comes_it_ends_in_one_error_and_every_order_is_done(noise: bytes, kinds: list[int]) -> None:
    async def run() -> None:
        connection = NbdConnection.__new__(NbdConnection)
        order = Order(Command.READ, 0, 512, 1024, done=lambda order: done.append(order.error))
        done: list[int] = []
        connection._export, connection._orders = Export(SIZE, structured=True), {1: order}
        connection.answers = 0
        reader = asyncio.StreamReader()
        reader.feed_data(b"".join(chunk(1, kind, noise) for kind in kinds) + noise)
        reader.feed_eof()
        with suppress(NbdError, asyncio.IncompleteReadError):
            while True:
                await connection._answer(reader)
        assert len(done) + connection.waiting == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("nbd://host", TcpAddress("host", 10809), ""),
        ("nbd://host:1/a%2Fb%20c", TcpAddress("host", 1), "a/b c"),
        ("nbd://[::1]/", TcpAddress("::1", 10809), ""),
        ("nbd+unix:///?socket=/run/nbd", UnixAddress("/run/nbd"), ""),
        ("nbd+unix:///name?socket=%2Frun%2Fn%20b", UnixAddress("/run/n b"), "name"),
    ],
)
def test_uris(text: str, address: object, name: str) -> None:
    uri = parse_uri(text)
    assert (uri.address, uri.export) == (address, name)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nbd://", "is not nbd://HOST"),
        ("nbd:///x", "is not nbd://HOST"),
        ("nbd://host:99999", "is not nbd://HOST"),
        ("nbd://user@host", "is not nbd://HOST"),
        ("nbd://host?x=1", "is not nbd://HOST"),
        ("nbd+unix:///", "is not nbd://HOST"),
        ("nbd+unix://host/?socket=/x", "is not nbd://HOST"),
        ("nbd+unix:///?socket=/a&socket=/b", "is not nbd://HOST"),
        ("nbd+unix:///?socket=" + "x" * 108, "is not a socket's path"),
        ("nbds://host", "TLS is not spoken here"),
        ("http://host", "is not nbd://HOST"),
    ],
)
def test_what_is_no_uri(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        parse_uri(text)
