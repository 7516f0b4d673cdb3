"""`avmm ps`, `avmm pause` and the others, beside a VM that runs."""

from __future__ import annotations

import asyncio
import json
import os
import socket

import pytest

from avmm.cli.main import main
from avmm.testing import ScriptedVm, Spin
from avmm_control.address import runtime_directory
from avmm_control.instrument import create_instrument


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    """The user's runtime directory, for this test alone."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("AVMM_CONTROL_TOKEN", raising=False)


@pytest.fixture
async def vm():
    """A VM that `avmm ps` finds."""
    async with ScriptedVm([Spin()], name="web", instruments=[create_instrument("auto")]) as running:
        await running.start()
        await running.until(lambda: running.guest().entries)
        yield running


@pytest.fixture
def avmm(capsys):
    """Carry out a command line on another thread; (exit status, standard output, standard error)."""

    async def run(*line: str) -> tuple[int, str, str]:
        status = await asyncio.to_thread(main, line)
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


async def test_ps_lists_what_runs(vm, avmm):
    status, out, _ = await avmm("ps")
    head, line = out.splitlines()
    assert status == 0
    assert head.split() == ["NAME", "PID", "STATE", "VCPUS", "MEMORY", "KERNEL", "SOCKET"]
    assert line.split()[:4] == ["web", str(os.getpid()), "running", "1"]
    [listed] = json.loads((await avmm("ps", "--json"))[1])
    assert (listed["name"], listed["pid"], listed["state"]) == ("web", os.getpid(), "running")


async def test_ps_without_any_vm(avmm):
    assert await avmm("ps", "--json") == (0, "[]\n", "")


async def test_sockets_of_processes_that_are_gone_are_taken_away(vm, avmm):
    starting = f"early-{os.getpid()}.sock"
    for name in ("gone-99999999.sock", "gone.sock", starting):
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(runtime_directory() / name))
    (runtime_directory() / "file.sock").write_text("not a socket")
    assert len((await avmm("ps"))[1].splitlines()) == 2
    assert sorted(path.name for path in runtime_directory().iterdir()) == [starting, "file.sock", f"web-{os.getpid()}.sock"]


@pytest.mark.parametrize("by", ["name", "pid", "path", "path and name"])
async def test_a_vm_is_named_by(vm, avmm, by):
    path = str(runtime_directory() / f"web-{os.getpid()}.sock")
    target = {"name": "web", "pid": str(os.getpid()), "path": path, "path and name": f"{path}#web"}[by]
    assert await avmm("pause", target) == (0, "web: paused\n", "")
    assert vm.state() == "paused"


async def test_a_vm_that_is_not_there(vm, avmm):
    status, out, err = await avmm("pause", "mail")
    assert (status, out) == (1, "")
    assert err == f"avmm: mail: no such VM; there is web (process {os.getpid()})\n"
    status, _, err = await avmm("pause", "/nowhere/a.sock")
    assert status == 1
    assert err.startswith("avmm: /nowhere/a.sock: ")
    assert err.count("\n") == 1
    path = runtime_directory() / f"web-{os.getpid()}.sock"
    status, _, err = await avmm("pause", f"{path}#mail")
    assert (status, "no such VM" in err) == (1, True)


async def test_two_of_one_name_are_told_apart_by_more(vm, avmm, tmp_path):
    other = runtime_directory() / "other.sock"
    async with ScriptedVm([Spin()], name="web", instruments=[create_instrument(str(other))]) as second:
        await second.start()
        status, _, err = await avmm("pause", "web")
        assert status == 1
        assert err.startswith("avmm: web names several VMs")
        assert (await avmm("pause", str(other)))[1] == "web: paused\n"
        assert (vm.state(), second.state()) == ("running", "paused")


async def test_a_life(vm, avmm):
    assert (await avmm("step", "web"))[2] == "avmm: a VM that is running cannot be stepped: pause it first\n"
    assert (await avmm("pause", "web"))[1] == "web: paused\n"
    assert (await avmm("step", "web", "7"))[1] == "vcpu 0: 7 instructions, budget\n"
    assert json.loads((await avmm("step", "web", "7", "--vcpu", "0", "--json"))[1]) == [
        {"vcpu": 0, "instructions": 7, "ended": "budget"}
    ]
    assert "x0             0x0000000000000000\n" in (await avmm("registers", "web"))[1]
    assert (await avmm("irq", "web", "3")) == (0, "", "")
    assert (await avmm("resume", "web"))[1] == "web: running\n"
    out = (await avmm("inspect", "web"))[1]
    assert out.startswith(f"web: running, process {os.getpid()}, ")
    assert "VCPU  DOES" in out
    assert json.loads((await avmm("inspect", "web", "--json"))[1])["snapshot"]["name"] == "web"
    assert (await avmm("power-button", "web"))[
        2
    ] == "avmm: this machine has no power button: add the device pl061 (--device pl061)\n"
    assert (await avmm("reset", "web"))[0] == 0
    await vm.until(lambda: vm.toy.boots == 2 and vm.state() == "running")
    events = asyncio.create_task(avmm("events", "web"))
    assert (await avmm("stop", "web"))[0] == 0
    assert (await events)[0] == 0


@pytest.mark.parametrize("json_", [[], ["--json"]])
async def test_events_until_the_end(vm, avmm, json_, capsys):
    listening = vm.lifecycle
    events = asyncio.create_task(asyncio.to_thread(main, ["events", "web", *json_]))
    await vm.until(lambda: len(listening._watchers) and vm.state() == "running")
    await vm.steering.pause()
    vm.steering.power_off()
    assert await events == 0
    lines = capsys.readouterr().out.splitlines()
    if json_:
        assert [json.loads(line)["state"] for line in lines] == ["running", "paused", "halted"]
        assert json.loads(lines[-1])["halt"]["reason"] == "shutdown"
    else:
        assert [line.split()[0] for line in lines] == ["state"] * 3


async def test_a_token_for_an_address(avmm, tmp_path):
    file = tmp_path / "token"
    file.write_text("0123456789abcdef")
    file.chmod(0o600)
    instrument = create_instrument(f"127.0.0.1:0,token-file={file}")
    async with ScriptedVm([Spin()], name="far", instruments=[instrument]) as far:
        await far.start()
        await far.until(lambda: far.guest().entries)
        assert (await avmm("pause", str(instrument.address)))[2] == "avmm: the token is missing or wrong\n"
        assert (await avmm("pause", str(instrument.address), "--token-file", str(file)))[1] == "far: paused\n"


async def test_top_needs_a_terminal(avmm):
    status, _, err = await avmm("top")
    assert (status, err) == (1, "avmm: avmm top needs a terminal; `avmm ps --json` and `avmm inspect --json` are for programs\n")
