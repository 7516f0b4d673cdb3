"""The VM ends in the middle of something: whoever asked gets an answer or a clean end, and nothing waits."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from avmm.testing import ScriptedVm, Spin
from avmm.vcpu.mode import Tracepoint
from avmm_control import server
from avmm_control.instrument import create_instrument
from tests.unit.control.conftest import connect


async def test_of_a_step(serve, slot):
    async with serve(slot=slot) as (vm, http):
        await http.post("/v1/vms/test/pause")
        vm.at(0, Tracepoint.ENTRY, vm.steering.power_off)
        stepped = await http.post("/v1/vms/test/step", json={"instructions": 1000})
        assert stepped.json() == [{"vcpu": 0, "instructions": 0, "ended": "over"}]
        assert str(await vm.halted()) == "shutdown (switched off from outside)"


async def test_of_a_request_that_is_still_arriving(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "GRACE_S", 0.1)
    path = tmp_path / "control.sock"
    async with ScriptedVm([Spin()], instruments=[create_instrument(str(path))]) as vm:
        await vm.start()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"POST /v1/vms/test/console HTTP/1.1\r\nHost: avmm\r\nContent-Length: 9\r\n\r\nabc")
        async with connect(path) as http:
            await http.get("/healthz")  # by then it has begun
    answer = await asyncio.wait_for(reader.read(), 60)
    assert answer == b"" or answer.startswith(b"HTTP/1.1")
    writer.close()
    assert not path.exists()


async def test_of_a_quiet_connection_and_a_stream(tmp_path):
    path = tmp_path / "control.sock"
    async with connect(path) as http:
        async with ScriptedVm([Spin()], instruments=[create_instrument(str(path))]) as vm:
            await vm.start()
            await http.get("/healthz")
            stream = http.stream("GET", "/v1/vms/test/events?kinds=state,exit")
            response = await stream.__aenter__()
            lines = response.aiter_lines()
            assert await anext(lines) == ": still here"
        assert [line async for line in lines if '"halted"' in line]
        await stream.__aexit__(None, None, None)
        with pytest.raises(httpx.ConnectError):
            await http.get("/healthz")


async def test_of_many_requests_at_once(serve):
    async with serve(slot="thread") as (vm, http):
        asked = [asyncio.create_task(http.get("/v1/vms/test/snapshot")) for _ in range(50)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        await vm.stop()
        assert {(await one).status_code for one in asked} == {200}
        assert (await http.post("/v1/vms/test/stop")).json()["state"] == "halted"


async def test_a_failure_to_start_leaves_nothing_behind(tmp_path):
    path = tmp_path / "control.sock"
    with pytest.raises(ZeroDivisionError):
        async with ScriptedVm([Spin()], instruments=[create_instrument(str(path))]):
            1 // 0  # noqa: B018
    assert not path.exists()
    assert not server._servers
