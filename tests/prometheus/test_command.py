"""`avmm metrics`: the files, wherever one wants them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from avmm.cli.main import main
from tests.prometheus.shipped import DASHBOARDS, FILES, RULES
from tests.prometheus.test_rules import needs_promtool, promtool


def written(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("what", "shipped"), [("rules", RULES), ("dashboards", DASHBOARDS)])
def test_the_files_are_those_that_are_shipped(
    what: str, shipped: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", what, "--output", str(tmp_path / "new")]) == 0
    assert written(tmp_path / "new") == {path.name for path in shipped}
    for path in shipped:
        assert (tmp_path / "new" / path.name).read_text() == path.read_text()
    assert capsys.readouterr().out.split() == [str(tmp_path / "new" / path.name) for path in shipped]


@needs_promtool
def test_a_configuration_for_a_target(tmp_path: Path) -> None:
    assert main(["metrics", "config", "--output", str(tmp_path), "--target", "vm.example:1234"]) == 0
    assert written(tmp_path) == {str(path.relative_to(FILES)) for path in FILES.rglob("*") if path.is_file()}
    config = tmp_path / "prometheus/prometheus.yml"
    assert 'targets: ["vm.example:1234"]' in config.read_text()
    assert str(tmp_path / "grafana/dashboards") in (tmp_path / "grafana/provisioning/dashboards/avmm.yml").read_text()
    status, said = promtool("check", "config", config)
    assert status == 0, said
    for board in (tmp_path / "grafana/dashboards").iterdir():
        json.loads(board.read_text())


def test_writing_again_is_no_harm(tmp_path: Path) -> None:
    for _ in range(2):
        assert main(["metrics", "rules", "--output", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--target", "nowhere"], "avmm: --target: 'nowhere' is not HOST:PORT"),
        (["--target", ":9464"], "avmm: --target: :9464 names no host to scrape"),
        (["--output", "/dev/null/x"], "avmm: /dev/null/x: Not a directory"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "rules", "--output", str(tmp_path / "out"), *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_names_what_there_is() -> None:
    said = subprocess.run([sys.executable, "-m", "avmm.cli", "metrics", "--help"], capture_output=True, text=True, timeout=60)
    assert "{rules,dashboards,config}" in said.stdout
