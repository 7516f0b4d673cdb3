"""Clients that send nonsense, too much, too slowly or too often: each has its answer, and the VM goes on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest

from avmm.testing import ScriptedVm, Spin
from avmm_control.address import UnixAddress
from avmm_control.limits import Bucket, Limits
from avmm_control.server import ControlServer, join, leave
from tests.unit.control.conftest import connect
from tests.unit.control.test_life import refused

PATIENCE_S = 60


@pytest.fixture
def limited(tmp_path):
    """`async with limited(limit=...) as (server, path, http)`: a VM that runs, behind a server with these limits."""

    @asynccontextmanager
    async def served(**limits):
        path = tmp_path / "control.sock"
        async with ScriptedVm([Spin()]) as vm:
            await vm.start()
            server = await join(vm, ControlServer(UnixAddress(path), limits=Limits(**limits)))
            try:
                async with connect(path) as http:
                    yield server, path, http
            finally:
                await leave(vm, server)

    return served


async def talk(path, *parts: bytes) -> bytes:
    """Send this, and no more; all that comes back until the server hangs up."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    for part in parts:
        writer.write(part)
        await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    except ConnectionError:
        return b""
    finally:
        writer.close()


HEAD = b"POST /v1/vms/test/console HTTP/1.1\r\nHost: avmm\r\n"
MALFORMED = [
    b"\r\n\r\n\r\n",
    b"nonsense\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    b"GET /v1/vms\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: avmm\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : avmm\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: avmm\r\nA\x00B: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: avmm\r\nHost: other\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: avmm\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: avmm\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nnot-a-size\r\n",
    HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\nHost: avmm\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: avmm\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + b"\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000,
]


@pytest.mark.parametrize("request_", MALFORMED, ids=lambda request_: repr(request_[:24]))
async def test_what_is_no_request_is_refused_and_the_connection_closed(limited, request_):
    async with limited(request_s=0.3) as (_, path, http):
        answer = await talk(path, request_)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501"))
        assert b"Traceback" not in answer
        assert (await http.get("/v1/vms/test")).json()["state"] == "running"


PATHS = ["//v1/vms", "/v1/vms/", "/v1/vms/../vms", "/v1/vms/%00", "/v1/vms/" + "x" * 33, "/v1/vms/test/vcpus/-1/registers"]


@pytest.mark.parametrize("path", [*PATHS, "/v1/vms/test/vcpus/x/registers", "/v1/vms/test/vcpus/0/registers/%2e%2e"])
async def test_paths_that_lead_nowhere(limited, path):
    async with limited() as (_, socket, _):
        answer = await talk(socket, f"GET {path} HTTP/1.1\r\nHost: avmm\r\nConnection: close\r\n\r\n".encode())
        assert answer.split(b" ", 2)[1] in (b"404", b"422")
        assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    ("content", "type_"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b'{"instructions": 1e400}', "application/json"),
        (b'{"instructions": NaN}', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b"instructions=1", "application/x-www-form-urlencoded"),
        (b'{"instructions": 1}', "text/plain"),
    ],
)
async def test_bodies_that_say_nothing(limited, content, type_):
    async with limited() as (_, _, http):
        refused(await http.post("/v1/vms/test/step", content=content, headers={"Content-Type": type_}), 422)


async def test_a_body_that_is_nested_too_deeply(limited):
    async with limited() as (_, _, http):
        headers = {"Content-Type": "application/json"}
        assert (await http.post("/v1/vms/test/step", content=b"[" * 50_000, headers=headers)).status_code in (400, 422)


async def test_a_body_that_is_too_large(limited):
    async with limited(body_bytes=1000) as (_, path, http):
        assert "at most 1000 bytes" in refused(await http.post("/v1/vms/test/console", content=b"x" * 1001), 413)
        assert (await http.post("/v1/vms/test/console", content=b"x" * 1000)).status_code == 204
        chunked = b"Transfer-Encoding: chunked\r\n\r\n" + b"200\r\n" + b"x" * 512 + b"\r\n200\r\n" + b"x" * 512 + b"\r\n"
        assert (await talk(path, HEAD, chunked)).startswith(b"HTTP/1.1 413")


async def test_a_body_that_never_comes(limited):
    async with limited(request_s=0.1) as (_, path, http):
        answer = await talk(path, HEAD, b"Content-Length: 5\r\n\r\nab")
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not arrive in time" in answer
        assert (await http.get("/v1/vms")).status_code == 200


@pytest.mark.parametrize("begun", [b"", b"GET", HEAD, b"GET /healthz HTTP/1.1\r\nHost: avmm\r\n\r\nGET"])
async def test_a_request_that_never_comes(limited, begun):
    async with limited(request_s=0.1) as (_, path, _):
        answer = await talk(path, begun)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 200")


async def test_a_client_that_does_not_take_its_answer_is_cut_off(limited):
    async with limited(stalled_s=0.1) as (server, path, http):
        _, writer = await asyncio.open_unix_connection(str(path), limit=1)
        request = b"GET /v1/vms/test/memory?address=0x40000000&length=65536 HTTP/1.1\r\nHost: avmm\r\n\r\n"
        connections = server._server.server_state.connections
        await http.get("/healthz")
        assert len(connections) == 2
        writer.write(request * 40)
        while len(connections) > 1:
            assert (await http.get("/healthz")).status_code == 200
        writer.close()


async def test_too_many_clients(limited):
    async with limited(clients=3) as (_, path, http):
        held = [await asyncio.open_unix_connection(str(path)) for _ in range(3)]
        assert await talk(path) == b""
        held.pop()[1].close()
        while True:  # until the server has seen it go
            try:
                assert (await http.get("/v1/vms")).status_code == 200
                break
            except httpx.TransportError:
                continue
        for _, writer in held:
            writer.close()


async def test_too_many_requests(limited):
    async with limited(requests_per_s=0.001, burst=3) as (_, _, http):
        assert [(await http.get("/healthz")).status_code for _ in range(4)] == [200, 200, 200, 429]
        response = await http.get("/healthz")
        assert "too many requests" in refused(response, 429)
        assert int(response.headers["retry-after"]) > 900


def test_a_bucket_fills_up_again():
    now_s = 0.0
    bucket = Bucket(10, 2, lambda: now_s)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.1]
    now_s = 0.1
    assert [bucket.take(), bucket.take()] == [0, 0.1]
    now_s = 1000.0
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.1]


async def test_methods_that_are_not_there(limited):
    async with limited() as (_, _, http):
        response = await http.delete("/v1/vms/test")
        refused(response, 405)
        assert response.headers["allow"] == "GET"
        refused(await http.request("BREW", "/v1/vms"), 405)


async def test_an_error_of_ours_is_told_to_the_log_alone(limited, monkeypatch):
    async with limited() as (server, _, http):
        [served] = server.hub
        monkeypatch.setattr(type(served.steering), "snapshot", lambda self: 1 // 0)
        response = await http.get("/v1/vms/test/snapshot")
        assert "the log says why" in refused(response, 500)
        assert "ZeroDivision" not in response.text
