"""`avmm plugins` and `avmm doctor`: what is there, what is broken, and whether it is enough."""

from __future__ import annotations

import json
import os
import subprocess

from avmm.cli.main import COMMANDS
from tests.unit.cli.command import PATIENCE_S, Avmm

BROKEN = "[avmm.devices]\nbell = bells:create\n"
DEFAULT_ENGINE = "[avmm.engines]\nunicorn = stand_in:create\n"


def test_plugins_are_listed_and_a_broken_one_is_named(avmm: Avmm) -> None:
    avmm.install("bells", BROKEN)
    (avmm.folder / "site" / "bells.py").write_text("raise ValueError('cracked')")
    done = avmm("plugins")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "KIND    NAME      FROM       STATE",
        "arch    toy       avmm 1.0   loaded",
        "engine  toy       avmm 1.0   loaded",
        "device  bell      bells 1.0  failed: cannot be imported from bells:create: ValueError: cracked",
        "device  toy-uart  avmm 1.0   loaded",
    ]


def test_plugins_for_programs(avmm: Avmm) -> None:
    listed = json.loads(avmm("plugins", "--json").stdout)
    assert listed[0] == {
        "kind": "arch",
        "name": "toy",
        "target": "toy:ToyArch",
        "distribution": "avmm",
        "version": "1.0",
        "state": "loaded",
        "reason": "",
    }
    assert [(one["kind"], one["name"]) for one in listed] == [("arch", "toy"), ("engine", "toy"), ("device", "toy-uart")]


def test_the_doctor_misses_the_default_engine(avmm: Avmm) -> None:
    done = avmm("doctor")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0].split()[0] == "avmm"
    assert "engine toy         ok: one could be made" in lines
    assert "engine unicorn     UNUSABLE: no such engine; there is toy" in lines
    assert lines[-1] == "avmm cannot run machines here with its default engine, unicorn"


def engine(avmm: Avmm, source: str) -> None:
    avmm.install("stand-in", DEFAULT_ENGINE)
    (avmm.folder / "site" / "stand_in.py").write_text(f"def create(options): ...\n{source}")


def test_the_doctor_asks_the_engine(avmm: Avmm) -> None:
    engine(avmm, "def self_check():\n    return 'runs at 5 MIPS'\n")
    done = avmm("doctor")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-2:] == [
        "engine unicorn     ok: runs at 5 MIPS",
        "avmm can run machines here with its default engine, unicorn",
    ]


def test_an_engine_that_is_not_well_says_why(avmm: Avmm) -> None:
    engine(avmm, "from avmm.plugin import EngineError\ndef self_check():\n    raise EngineError('version 9 is not known')\n")
    done = avmm("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["engines"][-1] == {"name": "unicorn", "usable": False, "detail": "version 9 is not known"}
    assert report["healthy"] is False
    assert report["versions"]["python"].startswith("CPython")


def test_a_self_check_that_breaks_is_a_finding(avmm: Avmm) -> None:
    engine(avmm, "def self_check():\n    return 1 / 0\n")
    done = avmm("doctor")
    assert done.returncode == 1
    assert "engine unicorn     UNUSABLE: trying it raised ZeroDivisionError: division by zero" in done.stdout.splitlines()


def test_the_doctor_names_broken_plugins(avmm: Avmm) -> None:
    avmm.install("bells", BROKEN)
    lines = avmm("doctor").stdout.splitlines()
    assert "device bell: cannot be imported from bells:create: ModuleNotFoundError: No module named 'bells'" in lines


def test_a_reader_that_leaves_is_no_crash(avmm: Avmm) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = avmm.start("plugins", stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    assert process.communicate(timeout=PATIENCE_S)[1] == b""
    assert process.returncode == 141


def test_help_knows_all_commands(avmm: Avmm) -> None:
    lines = avmm("--help").stdout.splitlines()
    for name, text in COMMANDS.items():
        assert any(line.split() == [name, *text.split()] for line in lines)
