"""`avmm run --control`: served while the machine runs, gone with it, and a mistake is one line."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys

import httpx
import pytest

SPIN = (0x1400_0000).to_bytes(4, "little")
"""b ."""
PATIENCE_S = 60


@pytest.fixture
def start(tmp_path):
    """Start `avmm run` on a guest that spins, in a runtime directory of its own; ended at the end."""
    (tmp_path / "spin.img").write_bytes(SPIN)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    environment.pop("AVMM_CONTROL_TOKEN", None)
    started = []

    def run(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "avmm.cli", "run", "--kernel", str(tmp_path / "spin.img"), "--log-level", "info"]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        process = subprocess.Popen([*command, *options], env=environment, stdin=null, stdout=null, stderr=pipe, text=True)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def served(process: subprocess.Popen[str]) -> str:
    """Where it says that it serves."""
    assert process.stderr is not None
    for line in process.stderr:
        if "control served" in line:
            return line.split("address=")[1].split()[0]
    raise AssertionError("it never served")


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_machine_and_its_server(start, tmp_path, sent, status):
    process = start("--name", "web", "--control")
    path = served(process)
    assert path == str(tmp_path / "avmm" / f"web-{process.pid}.sock")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://avmm") as http:
        assert http.post("/v1/vms/web/pause").json()["state"] == "paused"
    process.send_signal(sent)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, "Traceback" in err) == (status, False), err
    assert not os.path.exists(path)


def test_a_stop_by_the_api_is_an_end_like_any_other(start):
    process = start("--control")
    with httpx.Client(transport=httpx.HTTPTransport(uds=served(process)), base_url="http://avmm") as http:
        assert http.post("/v1/vms/vm0/stop").json()["state"] == "halted"
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, "Traceback" in err) == (0, False), err


def test_a_description_may_say_so(start, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef\n")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "machine.toml").write_text('control = "127.0.0.1:0"\ncontrol_token_file = "token"\n')
    url = f"http://{served(start(str(tmp_path / 'machine.toml')))}/v1/vms"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": "Bearer 0123456789abcdef"}).json()[0]["name"] == "vm0"


def test_mistakes_are_one_line(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "open").write_text("0123456789abcdef")
        for options, what in (
            (["--control", f"127.0.0.1:{port}"], "needs a token: --control-token-file FILE"),
            (["--control", "127.0.0.1:0", "--control-token-file", str(tmp_path / "open")], "can be read by others: chmod 600"),
            (["--control", str(tmp_path / "spin.img")], "it exists and is not a socket"),
        ):
            process = start(*options)
            _, err = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 1
            assert what in err
            assert err.startswith("avmm: --control"), err
            assert err.count("\n") == 1, err
