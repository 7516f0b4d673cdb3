"""Every recorded transcript agrees with the arm64 machine, or departs on purpose, and then still does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avmm.transcript import Case, Verdict, load, load_departures, replay
from avmm_arm64 import create_transcript_machine
from avmm_unicorn import create_engine

HERE = Path(__file__).parent
CASES = load(HERE / "kvm_arm64.json")
DEPARTURES = load_departures(HERE / "departures.toml")


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
async def test_the_machine_answers_as_recorded(case: Case) -> None:
    outcome = await replay(case, create_transcript_machine, create_engine, DEPARTURES.get(case.id))
    if case.id in DEPARTURES:
        assert outcome.disagreements, "it agrees: take it off the list of departures"
    else:
        assert outcome.verdict is Verdict.AGREES, outcome


def test_all_of_them_are_there() -> None:
    assert len(CASES) == 843
    assert set(DEPARTURES) <= {case.id for case in CASES}


def test_the_committed_guest_is_what_its_source_builds(tmp_path: Path) -> None:
    shutil.copytree(HERE / "guest", tmp_path / "elsewhere")
    output = tmp_path / "guest.json"
    subprocess.run(
        [sys.executable, tmp_path / "elsewhere" / "build.py", "--output", output],
        check=True,
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": os.fspath(tmp_path / "cache")},
        timeout=300,
    )
    assert output.read_bytes() == (HERE.parents[1] / "arch" / "avmm_arm64" / "kvm_guest.json").read_bytes()
