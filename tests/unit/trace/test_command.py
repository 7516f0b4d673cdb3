"""`avmm run --trace` and `avmm trace` as processes: a file whatever ends the guest, and what is said of it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from avmm_trace.perfetto_file import read
from avmm_trace.timeline import Category
from tests.unit.cli.command import PATIENCE_S, Avmm, in_folder

ENTRY_POINTS = """\
[avmm.instruments]
trace = avmm_trace.instrument:create_instrument
[avmm.commands]
trace = avmm_trace.command:create_command
"""


@pytest.fixture
def avmm(tmp_path: Path) -> Avmm:
    command = in_folder(tmp_path)
    command.install("tracing", ENTRY_POINTS)
    return command


@pytest.mark.parametrize(("guest", "code"), [("off", 0), ("fault", 3), ("raise", 1)])
def test_it_is_written_however_the_guest_ends(avmm: Avmm, guest: str, code: int) -> None:
    done = avmm("run", avmm.guest(["print hello", guest]), "--trace", "out")
    assert done.returncode == code
    timeline = read(avmm.folder / "out")
    assert [one.name for one in timeline.of(Category.STATE)] == ["init", "running", "halted"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_written_when_the_user_has_enough(avmm: Avmm, number: signal.Signals) -> None:
    process = avmm.start("run", avmm.guest(["print up", "spin"]), "--trace", "out", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 128 + number
    process.stdout.close()
    assert read(avmm.folder / "out").recorded > 0


def test_a_ring_that_was_too_small_is_told(avmm: Avmm) -> None:
    done = avmm("run", avmm.guest(["print hello", "off"]), "--trace", "out,events=5")
    assert done.returncode == 0
    assert 'event="trace incomplete"' in done.stderr
    assert "lost=" in done.stderr


def test_the_summary_and_the_picture(avmm: Avmm) -> None:
    avmm("run", avmm.guest(["print hello", "off"]), "--trace", "out")
    done = avmm("trace", "out", "--svg", "out.svg")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("vm0: ")
    assert "exits: kicked 1" in done.stdout
    assert (avmm.folder / "out.svg").read_text().startswith("<svg")
    shown = json.loads(avmm("trace", "out", "--json").stdout)
    assert shown["lost"] == 0
    assert shown["exits"] == {"kicked": 1}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("trace", "missing"), "avmm: missing: No such file or directory"),
        (("trace", "toy.toml"), "avmm: toy.toml: not a Perfetto trace, or a damaged one"),
        (("run", "toy.toml", "--trace", "missing/out"), "avmm: --trace: trace: missing/out: No such file or directory"),
        (("run", "toy.toml", "--trace", "out,events=x"), "avmm: --trace: trace: 'events=x' is not events=N"),
    ],
)
def test_a_mistake_is_one_line(avmm: Avmm, arguments: tuple[str, ...], line: str) -> None:
    avmm.guest(["off"])
    done = avmm(*arguments)
    assert (done.returncode, done.stderr.splitlines()) == (1, [line])


def test_a_command_that_cannot_be_loaded_says_so_and_disturbs_no_other(avmm: Avmm) -> None:
    avmm.install("broken", "[avmm.commands]\nbroken = nowhere.at_all:create_command\n")
    done = avmm("broken", "--whatever", "x")
    assert done.returncode == 1
    assert done.stderr.startswith("avmm: command broken: ")
    assert "broken" in avmm("--help").stdout
    assert avmm("run", avmm.guest(["off"])).stderr == ""
