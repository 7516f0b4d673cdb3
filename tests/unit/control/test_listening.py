"""An address that cannot be had is one clear line, and nothing of the VM is left behind."""

from __future__ import annotations

import asyncio
import socket
import threading

import httpx
import pytest

from avmm import ConfigError
from avmm.testing import ScriptedVm, Spin
from avmm_control.instrument import create_instrument
from avmm_control.token import VARIABLE
from tests.unit.control.conftest import connect


async def refused(setting: str) -> str:
    with pytest.raises(ConfigError) as error:
        async with ScriptedVm([Spin()], name="late", instruments=[create_instrument(setting)]):
            pass
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv(VARIABLE, "x" * 16)


async def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in await refused(f"127.0.0.1:{port}")


async def test_an_address_that_is_not_ours():
    assert "cannot listen at 192.0.2.1:80: Cannot assign requested address" in await refused("192.0.2.1:80")
    assert "cannot listen at [::1%none]:80" in await refused("[::1%none]:80")


async def test_a_path_that_is_something_else(tmp_path):
    (tmp_path / "file").write_text("precious")
    assert "it exists and is not a socket" in await refused(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "precious"
    assert "it exists and is not a socket" in await refused(str(tmp_path))
    assert "No such file or directory" in await refused(str(tmp_path / "none" / "a.sock"))


async def test_a_socket_that_somebody_listens_at(tmp_path):
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert "somebody listens there already" in await refused(str(path))
        assert path.exists()


async def test_a_socket_of_a_process_that_is_gone_is_taken_over(tmp_path):
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    async with ScriptedVm([Spin()], instruments=[create_instrument(str(path))]), connect(path) as http:
        assert (await http.get("/healthz")).json()["vms"] == 1
    assert not path.exists()


async def test_vms_of_one_loop_share_an_address(tmp_path):
    path = tmp_path / "both.sock"
    async with ScriptedVm([Spin()], name="a", instruments=[create_instrument(str(path))]), connect(path) as http:
        async with ScriptedVm([Spin()], name="b", instruments=[create_instrument(str(path))]):
            assert [vm["name"] for vm in (await http.get("/v1/vms")).json()] == ["a", "b"]
            with pytest.raises(ConfigError, match="a VM called b is served there already"):
                async with ScriptedVm([Spin()], name="b", instruments=[create_instrument(str(path))]):
                    pass
        assert [vm["name"] for vm in (await http.get("/v1/vms")).json()] == ["a"]
    assert not path.exists()


async def test_vms_of_one_address_share_its_token(tmp_path, monkeypatch):
    async with ScriptedVm([Spin()], instruments=[create_instrument("localhost:0")]):
        monkeypatch.setenv(VARIABLE, "y" * 16)
        assert "to those who know another token" in await refused("localhost:0")


async def test_vms_of_another_loop_do_not(tmp_path):
    path = tmp_path / "loop.sock"
    said = []

    async def elsewhere():
        said.append(await refused(str(path)))

    async with ScriptedVm([Spin()], instruments=[create_instrument(str(path))]):
        thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
        thread.start()
        await asyncio.to_thread(thread.join)
    assert "VMs of another event loop are served there" in said[0]


async def test_one_instrument_may_serve_several_vms(tmp_path):
    instrument = create_instrument("127.0.0.1:0")
    async with ScriptedVm([Spin()], name="a", instruments=[instrument]):
        first = instrument.address
        async with ScriptedVm([Spin()], name="b", instruments=[instrument]):
            assert instrument.address == first
            async with httpx.AsyncClient(base_url=f"http://{first}", headers={"Authorization": "Bearer " + "x" * 16}) as http:
                assert (await http.get("/healthz")).json()["vms"] == 2
