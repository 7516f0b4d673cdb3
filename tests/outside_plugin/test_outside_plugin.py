"""Plugins from distributions of their own, installed by pip and found by their entry points."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.command import PATIENCE_S, Avmm, in_folder

HERE = Path(__file__).parent
BELL = "[devices.bell]\nkind = 'doorbell'\nbase = 0xa000000\nirq = 5\n"


@pytest.fixture(scope="module")
def avmm(tmp_path_factory: pytest.TempPathFactory) -> Avmm:
    """`avmm` with the doorbell and the cracked plugin installed beside it."""
    folder = tmp_path_factory.mktemp("outside")
    for name in ("doorbell", "cracked"):
        # A copy, for the build leaves its traces in the source.
        shutil.copytree(HERE / name, folder / name)
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *options, "--target", folder / "site", folder / name],
            check=True,
            timeout=PATIENCE_S,
        )
    return in_folder(folder)


def test_the_doorbell_is_listed_and_the_cracked_one_is_named(avmm: Avmm) -> None:
    done = avmm("plugins")
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split(maxsplit=4) for line in done.stdout.splitlines() if line.startswith("device")]
    assert [line for line in listed if line[1] != "toy-uart"] == [
        [
            "device",
            "cracked",
            "avmm-cracked",
            "2.0",
            "failed: cannot be imported from avmm_cracked:create_device: RuntimeError: this bell is cracked",
        ],
        ["device", "doorbell", "avmm-doorbell", "1.0", "loaded"],
    ]


def test_a_guest_rings_the_doorbell(avmm: Avmm) -> None:
    commands = ["read 0xa000000", "write 0xa000000 3", "write 0xa000000 1", "read 0xa000000", "off"]
    done = avmm("run", avmm.guest(commands, BELL + "rings = 38\n"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "0x26\n0x2a\n", "")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (BELL + "rings = 'many'\n", "avmm: toy.toml:9: devices.bell.rings: 'many' is not a whole number from 0 to 4294967295"),
        (BELL + "colour = 'red'\n", "avmm: toy.toml:9: devices.bell.colour: no such setting of a doorbell; there is rings"),
        ("[devices.bell]\nkind = 'doorbell'\n", "avmm: toy.toml:5: devices.bell: a doorbell nobody hears: give it an irq"),
        (
            "[devices.bell]\nkind = 'cracked'\n",
            "avmm: device cracked: cannot be imported from avmm_cracked:create_device: RuntimeError: this bell is cracked",
        ),
    ],
)
def test_its_mistakes_have_their_place_in_the_machines_description(avmm: Avmm, table: str, line: str) -> None:
    done = avmm("run", avmm.guest(["off"], table))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{line}\n")
