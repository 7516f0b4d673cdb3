"""Streams: what happens is told in order; a slow client is told how much it lost; the VM does not wait for anybody."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, asynccontextmanager

import httpx
import pytest

from avmm.testing import ScriptedVm, ToyRequest
from avmm_control import events as log
from avmm_control.client import ControlClient
from avmm_control.ring import Ring
from avmm_control.server import _servers
from tests.unit.control.test_life import refused


@pytest.fixture
def control(tmp_path):
    """A client of what `serve` serves."""
    return ControlClient(tmp_path / "control.sock")


def kick(vm: ScriptedVm, times: int) -> None:
    for _ in range(times):
        vm.vcpus[0].make_request_and_kick(ToyRequest.IRQ_PENDING)


async def test_a_life_in_events(serve, control):
    async with serve() as (vm, _), control:
        stream = control.vm("test").events()
        assert (await anext(stream)).data["state"] == "running"
        await vm.steering.pause()
        paused = await anext(stream)
        assert (paused.name, paused.data["state"], paused.id) == ("state", "paused", "2")
        await vm.steering.stop("enough")
        last = await anext(stream)
        assert last.data["halt"] == {"reason": "stopped", "detail": "enough", "status": 0}
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        again = [event async for event in control.vm("test").events(last=paused.id)]
        assert [event.id for event in again] == ["3"]


async def test_the_end_of_the_vm_ends_streams_of_other_things_too(serve, control):
    async with serve(slot="thread") as (vm, _), control:
        before = vm.vcpus[0].trace
        stream = control.vm("test").events(["kick"])
        listening = asyncio.create_task(anext(stream))
        await vm.until(lambda: vm.vcpus[0].trace is not before)
        kick(vm, 1)
        assert (await listening).data["action"] in ("ipi", "nothing")
        await vm.steering.stop()
        assert all(event.name == "kick" for event in [event async for event in stream])


async def test_vcpus_are_traced_only_while_somebody_listens(serve, control):
    async with serve() as (vm, _), control:
        vcpu = vm.vcpus[0]
        before = vcpu.trace
        async with aclosing(control.vm("test").events(["state", "exit", "request", "handled", "kick"])) as stream:
            assert (await anext(stream)).name == "state"
            assert vcpu.trace is not before
            kick(vm, 1)
            names = {(await anext(stream)).name for _ in range(4)}
            assert "request" in names
        await vm.until(lambda: vcpu.trace is before)


async def test_a_client_that_does_not_read_loses_events_and_learns_how_many(serve, tmp_path, monkeypatch):
    """Ten thousand events and more to a client that reads none: the VM and other clients go on, and the account is right."""
    monkeypatch.setattr(log, "KEPT", 2000)
    async with serve() as (vm, http):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"), limit=1024)
        writer.write(b"GET /v1/vms/test/events?kinds=kick HTTP/1.1\r\nHost: avmm\r\nConnection: close\r\n\r\n")
        await reader.readuntil(b"still here")
        [server] = _servers.values()
        kicks = 0
        while not any(getattr(one, "_stalled", None) for one in server._server.server_state.connections):
            kick(vm, 1000)
            kicks += 1000
            assert (await http.get("/v1/vms/test")).status_code == 200
        kick(vm, 10_000)
        kicks += 10_000
        assert (await http.post("/v1/vms/test/pause")).status_code == 200
        await vm.steering.stop()
        received, lost = await asyncio.wait_for(_account(reader), 60)
        writer.close()
        assert lost >= 8000
        assert kicks <= received + lost <= kicks + 3  # the pause and the end kick too


async def _account(reader) -> tuple[int, int]:
    """How many kicks there are in the stream, and how many it says are lost."""
    received = lost = 0
    while line := await reader.readline():
        if line == b"event: kick\n":
            received += 1
        elif line.startswith(b'data: {"kind":"kick"'):
            lost += json.loads(line[6:])["count"]
    return received, lost


async def test_a_client_that_keeps_up_loses_nothing(serve, control):
    async with serve() as (vm, _), control:
        stream = control.vm("test").events(["request"])
        first = asyncio.create_task(anext(stream))
        before = vm.vcpus[0].trace
        await vm.until(lambda: vm.vcpus[0].trace is not before)
        kick(vm, 5000)
        await first
        for _ in range(4999):
            event = await anext(stream)
            assert event.name == "request"
        assert event.id == "5000"


@pytest.mark.parametrize(
    ("query", "headers", "match"),
    [
        ("kinds=nothing", {}, "kinds are state, exit"),
        ("kinds=", {}, "kinds are"),
        ("kinds=state,exit", {"Last-Event-ID": "1"}, "other kinds"),
        ("", {"Last-Event-ID": "x"}, "Last-Event-ID"),
    ],
)
async def test_streams_that_make_no_sense(serve, query, headers, match):
    async with serve() as (_, http):
        assert match in refused(await http.get(f"/v1/vms/test/events?{query}", headers=headers), 422)


async def test_an_id_of_a_vm_before_this_one_begins_anew(serve, control):
    async with serve() as (vm, _), control:
        await vm.steering.stop()
        assert [event.id async for event in control.vm("test").events(last="700")] == ["1", "2"]


async def test_the_console_is_heard_and_typed_on(serve, control):
    async with serve() as (vm, _), control:
        with vm.device_lock:
            vm.console.write(b"before\n")
        typed = []
        vm.console.on_input(typed.append)
        heard = control.vm("test").console()
        assert await anext(heard) == b"before\n"
        with vm.device_lock:
            vm.console.write(b"after\n")
        assert await anext(heard) == b"after\n"
        await control.vm("test").type(b"ls\n")
        assert typed == [b"ls\n"]
        await vm.steering.stop()
        with pytest.raises(StopAsyncIteration):
            await anext(heard)


async def test_what_the_guest_does_not_read_is_refused_whole(serve):
    async with serve() as (vm, http):
        path, limit = "/v1/vms/test/console", vm.console.LIMIT
        large = await http.post(path, content=bytes(limit + 1))
        assert (large.status_code, large.json()["detail"]) == (413, f"the console takes {limit} bytes at once, not {limit + 1}")
        assert (await http.post(path, content=b"x" * (limit - 2))).status_code == 204
        refused = await http.post(path, content=b"abc")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.json()["detail"] == "the guest does not read: its console has room for 2 bytes, not 3"
        assert (await http.post(path, content=b"ab")).status_code == 204
        typed = []
        vm.console.on_input(typed.append)
        assert b"".join(typed) == b"x" * (limit - 2) + b"ab"
        assert (await http.post(path, content=b"abc")).status_code == 204


async def test_of_a_chatty_console_the_last_is_kept(serve, control, tmp_path):
    async with serve() as (vm, http), control:
        for number in range(40_000):
            with vm.device_lock:
                vm.console.write(f"{number:05}\n".encode())
        async with http.stream("GET", "/v1/vms/test/console") as response:
            lines = response.aiter_lines()
            told = [line async for line in _until(lines, "event: output")]
            assert "event: lost" in told
            [lost] = [json.loads(line[6:])["count"] for line in told if line.startswith("data")]
            assert 240_000 - 2 * 65536 <= lost <= 240_000 - 65536


async def _until(lines, last):
    async for line in lines:
        yield line
        if line == last:
            return


def test_a_ring_counts_what_fell_out_and_what_was_never_written_down():
    ring = Ring(4)
    for value in range(10):
        ring.add(0, 0, value)
    events, lost = ring.since(0, 100)
    assert ([event[3] for event in events], lost) == ([6, 7, 8, 9], 6)
    assert ring.since(7, 2) == ([(8, 0, 0, 7), (9, 0, 0, 8)], 0)
    assert ring.since(10, 2) == ([], 0)
    ring._number()  # a thread that has its number and does not come to write it down
    ring.add(0, 0, 10)
    assert ring.since(10, 100) == ([(12, 0, 0, 10)], 1)
    assert ring.last() == 12


@asynccontextmanager
async def streaming(http: httpx.AsyncClient, path: str):
    async with http.stream("GET", path) as response:
        yield response


async def test_listeners_come_and_go(serve):
    async with serve() as (vm, http):
        before = vm.vcpus[0].trace
        for _ in range(20):
            async with streaming(http, "/v1/vms/test/events?kinds=exit") as response:
                await anext(response.aiter_lines())
        await vm.until(lambda: vm.vcpus[0].trace is before)
        assert vm.state() == "running"
