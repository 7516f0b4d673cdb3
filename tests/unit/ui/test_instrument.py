"""`ui = "HOST:PORT"`: where the page is, who may see it, and what is wrong with a setting."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from avmm import ConfigError, MachineConfig
from avmm.testing import ScriptedVm, Spin
from avmm_control.instrument import create_instrument as create_control
from avmm_control.ui.instrument import create_instrument


async def test_a_token_is_made_and_told_with_the_address(serve):
    tokens = set()
    for _ in range(2):
        async with serve() as served:
            assert served.vm.notices == [f"web page at {served.ui.url}"]
            assert len(served.token) >= 32
            tokens.add(served.token)
    assert len(tokens) == 2, "each time another"


async def test_a_token_of_ones_own_is_not_told(serve, tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("a-secret-of-my-own\n")
    file.chmod(0o600)
    async with serve(setting=f"127.0.0.1:0,token-file={file}") as served:
        assert "secret" not in served.vm.notices[0]
        async with served.http(token=False) as http:
            http.headers["Authorization"] = "Bearer a-secret-of-my-own"
            assert (await http.get("/v1/vms")).status_code == 200


async def test_vms_at_one_address_share_the_page():
    with socket.create_server(("127.0.0.1", 0)) as free:
        setting = f"127.0.0.1:{free.getsockname()[1]}"
    one, other = create_instrument(setting), create_instrument(setting)
    async with ScriptedVm([Spin()], name="one", instruments=[one]), ScriptedVm([Spin()], name="other", instruments=[other]):
        assert one.url == other.url


async def test_a_taken_port_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        setting = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"^ui: cannot listen at {setting}: Address already in use$"):
            async with ScriptedVm([Spin()], instruments=[create_instrument(setting)]):
                pass


async def test_an_address_without_a_page_is_not_joined(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AVMM_CONTROL_TOKEN", "0123456789abcdef")
    with socket.create_server(("127.0.0.1", 0)) as free:
        setting = f"127.0.0.1:{free.getsockname()[1]}"
    async with ScriptedVm([Spin()], name="one", instruments=[create_control(setting)]):
        with pytest.raises(ConfigError, match="without the page"):
            async with ScriptedVm([Spin()], name="other", instruments=[create_instrument(setting)]):
                pass


@pytest.mark.parametrize("setting", ["", "8080", "/a/path", "localhost:99999", "a:b:c", "auto"])
def test_what_is_no_address(setting):
    with pytest.raises(ConfigError, match="is not HOST:PORT"):
        create_instrument(setting)
    with pytest.raises(ConfigError, match=r"^ui: "):
        MachineConfig(ui=setting)


def test_every_interface_is_reached_as_ones_own():
    assert MachineConfig(ui=":8080").instruments == {"ui": ":8080"}
    assert MachineConfig(ui=":8080", control_token_file="token").instruments == {"ui": ":8080,token-file=token"}
