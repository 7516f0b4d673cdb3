"""Who may come in: the owner of the Unix socket, whoever knows the token, and no page of another origin."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import httpx
import pytest

from avmm import ConfigError
from avmm.testing import ScriptedVm, Spin
from avmm_control import address as addresses
from avmm_control.address import TcpAddress, UnixAddress, parse_address, runtime_directory
from avmm_control.instrument import create_instrument
from avmm_control.token import VARIABLE, read_token

TOKEN = "0123456789abcdef"


@pytest.fixture
async def tcp(monkeypatch):
    """The base URL of a server on TCP."""
    monkeypatch.setenv(VARIABLE, TOKEN)
    instrument = create_instrument("127.0.0.1:0")
    async with ScriptedVm([Spin()], instruments=[instrument]) as vm:
        await vm.start()
        yield f"http://{instrument.address}"


async def get(url: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(f"{url}/v1/vms", headers=headers)


def bearer(token: str = TOKEN) -> str:
    return f"Bearer {token}"


async def test_the_token_opens(tcp):
    assert (await get(tcp, Authorization=bearer())).status_code == 200
    assert (await get(tcp, Authorization=f"bearer   {TOKEN}")).status_code == 200
    port = tcp.rpartition(":")[2]
    assert (await get(tcp, Cookie=f"a=b; avmm_token_{port}={TOKEN}")).status_code == 200
    assert (await get(tcp, Cookie=f"avmm_token_1{port}={TOKEN}")).status_code == 401, "another port's"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": bearer(TOKEN[:-1])},
        {"Authorization": bearer(TOKEN + "x")},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Cookie": "avmm_token="},
        {"Cookie": "\x7f=;;="},
    ],
)
async def test_nothing_else_does(tcp, headers):
    response = await get(tcp, **headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in response.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[evil.example", "127.0.0.1@evil.example"]
)
async def test_a_name_that_others_may_point_at_us_is_refused(tcp, host):
    """DNS rebinding: the browser believes that it talks to the attacker's host."""
    assert (await get(tcp, Authorization=bearer(), Host=host)).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "192.0.2.7:80", "[::1]:80"])
async def test_addresses_and_our_own_names_are_not(tcp, host):
    assert (await get(tcp, Authorization=bearer(), Host=host)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_pages_of_other_origins_are_refused(tcp, headers):
    assert (await get(tcp, Authorization=bearer(), **headers)).status_code == 403


async def test_pages_of_our_own_are_not(tcp):
    origin = {"Origin": tcp, "Sec-Fetch-Site": "same-origin"}
    assert (await get(tcp, Authorization=bearer(), **origin)).status_code == 200


async def test_tcp_without_a_token_does_not_start(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=r"127.0.0.1:0 is reached over the network and needs a token") as refused:
        async with ScriptedVm([Spin()], instruments=[create_instrument("127.0.0.1:0")]):
            pass
    assert "\n" not in str(refused.value)


async def test_the_socket_is_its_owners_alone(serve, tmp_path):
    async with serve():
        assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
    assert not (tmp_path / "control.sock").exists()


def test_a_token_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "x" * 16)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    assert read_token(file) == TOKEN
    assert read_token(None) == "x" * 16
    file.chmod(0o640)
    with pytest.raises(ConfigError, match=rf"can be read by others: chmod 600 {re.escape(str(file))}"):
        read_token(file)


@pytest.mark.parametrize("token", ["", "short", "x" * 513, "with a space inside it", "ünïcode-is-not-ascii"])
def test_a_token_that_will_not_do(tmp_path, monkeypatch, token):
    file = tmp_path / "token"
    file.write_text(token)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="a token is 16 to 512 printable ASCII characters"):
        read_token(file)
    monkeypatch.setenv(VARIABLE, token)
    with pytest.raises(ConfigError, match=VARIABLE):
        read_token(None)


def test_a_token_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_token(tmp_path / "none")


def test_the_runtime_directory_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    directory = runtime_directory()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert parse_address("auto", "web") == UnixAddress(directory / f"web-{os.getpid()}.sock")
    directory.chmod(0o755)
    with pytest.raises(ConfigError, match="must be a directory of yours that is closed to others"):
        runtime_directory()
    directory.rmdir()
    directory.symlink_to("/tmp")
    with pytest.raises(ConfigError, match="must be a directory of yours"):
        runtime_directory()


def test_without_a_runtime_directory_it_is_one_of_our_own(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(addresses.os, "access", lambda *_: False)
    monkeypatch.setattr(addresses.tempfile, "gettempdir", lambda: str(tmp_path))
    assert runtime_directory() == tmp_path / f"avmm-{os.getuid()}"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a/b.sock", UnixAddress(Path("a/b.sock"))),
        ("b.sock", UnixAddress(Path("b.sock"))),
        ("/a:1", UnixAddress(Path("/a:1"))),
        ("localhost:80", TcpAddress("localhost", 80)),
        (":0", TcpAddress("", 0)),
        ("[::1]:80", TcpAddress("::1", 80)),
    ],
)
def test_paths_and_addresses(text, address):
    assert parse_address(text, "vm0") == address


@pytest.mark.parametrize("text", ["", "host:port", "host:99999", "::1:80", "/" + "x" * 107])
def test_what_is_neither(text):
    with pytest.raises(ConfigError) as refused:
        parse_address(text, "vm0")
    assert "\n" not in str(refused.value)
