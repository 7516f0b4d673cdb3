"""The rules, in the eyes of promtool; each alert fires where it should and not elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.prometheus.shipped import FILES, RULE_TESTS, RULES, names

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: apt-get install prometheus)")


def promtool(*arguments: str | Path) -> tuple[int, str]:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_them() -> None:
    for check in (["check", "rules", *RULES], ["check", "config", FILES / "prometheus/prometheus.yml"]):
        status, said = promtool(*check)
        assert status == 0, said


@needs_promtool
def test_each_fires_when_it_is_provoked_and_is_silent_otherwise() -> None:
    status, said = promtool("test", "rules", RULE_TESTS)
    assert status == 0, said


def test_the_page_lists_them_with_their_severity() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/watch.md").read_text()
    listed = dict(re.findall(r"^\| (Avmm\w+) \| (\w+) \|", page, re.MULTILINE))
    alerts = "".join(path.read_text() for path in RULES)
    assert listed == dict(re.findall(r"alert: (\w+)\n(?:.*\n)*?.*severity: (\w+)", alerts))


def test_none_is_left_out_of_the_tests() -> None:
    tested = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n", RULE_TESTS.read_text()))
    assert tested == set(names("alert"))
    assert len(tested) >= 12


@needs_promtool
@pytest.mark.parametrize("alert", names("alert"))
def test_the_tests_notice_a_broken_alert(alert: str, tmp_path: Path) -> None:
    """An alert that never fires fails them, by its name."""
    for path in RULES:
        (tmp_path / path.name).write_text(path.read_text())
    alerts = tmp_path / "avmm-alerts.yml"
    text = alerts.read_text()
    start = text.index(f"- alert: {alert}\n")
    end = text.find("- alert:", start + 1) if "- alert:" in text[start + 1 :] else len(text)
    alerts.write_text(
        text[:start] + re.sub(r"(?s)expr:.*?(?=\n        (?:for|labels):)", "expr: vector(1) > 2", text[start:end]) + text[end:]
    )
    tests = tmp_path / "rules.test.yml"
    tests.write_text(re.sub(r"\S+/(avmm-\w+\.yml)", r"\1", RULE_TESTS.read_text()))
    status, said = promtool("test", "rules", tests)
    assert status == 1, said
    assert f"alertname: {alert}," in said
