"""Every rule has a test."""

from __future__ import annotations

import re
from pathlib import Path

from tests.rules.clauses import CLAUSES


def _tested() -> set[str]:
    sources = Path(__file__).parent.glob("test_*.py")
    names = [name for source in sources for name in re.findall(r"def (test_r[0-9b_r]+)_", source.read_text())]
    return {clause for name in names for clause in re.findall(r"r(\d\db?)", name)}


def test_every_rule_has_a_test_named_after_it() -> None:
    assert sorted(CLAUSES.keys() - _tested()) == []


def test_no_test_is_named_after_a_rule_that_does_not_exist() -> None:
    assert sorted(_tested() - CLAUSES.keys()) == []


def test_the_rules_are_numbered_without_a_gap() -> None:
    assert sorted({int(clause.rstrip("b")) for clause in CLAUSES}) == list(range(1, 81))
