"""Every mutant still applies to the source it was written for. That the tests kill them is shown by `make mutants`."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import main
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.mutants import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_the_mutant_applies(mutant: Mutant) -> None:
    source = mutant.mutated()
    if mutant.file.endswith(".py"):
        compile(source, mutant.file, "exec")
    assert all((ROOT / test.partition("::")[0]).exists() for test in mutant.tests)


def test_no_two_mutants_have_the_same_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25


def test_a_name_that_no_mutant_has_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("no such mutant") == 1
    assert capsys.readouterr() == ("", f"no mutant has 'no such mutant' in its name; there are {len(MUTANTS)}\n")
