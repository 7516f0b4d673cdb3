"""The reference pages say what there is: no setting, exit status or key is left out, and none is made up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avmm.cli.escape import HELP
from avmm.cli.exit_codes import ExitCode
from avmm.config import MachineConfig

DOCS = Path(__file__).parents[2] / "docs"
MACHINE, COMMAND_LINE = (DOCS / "machine-toml.md").read_text(), (DOCS / "command-line.md").read_text()


def test_every_setting_is_described_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", MACHINE, re.MULTILINE))
    defaults = {name: value for name, value in vars(MachineConfig()).items() if name[0] != "_" and not name.endswith("_options")}
    assert set(rows) == set(defaults)
    for name, written in rows.items():
        default = defaults[name]
        assert written == ("none" if default in (None, {}) else f"`{as_toml(default)}`")


def as_toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def test_the_example_is_a_machine(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", MACHINE, re.DOTALL)
    (tmp_path / "machine.toml").write_text(example)
    config = MachineConfig.from_toml(tmp_path / "machine.toml")
    assert config.devices["uart1"].options == {"enabled": False}


def test_every_exit_status_is_listed() -> None:
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", COMMAND_LINE, re.MULTILINE)] == sorted(ExitCode)


@pytest.mark.parametrize("line", HELP.splitlines())
def test_every_key_is_listed(line: str) -> None:
    keys, meaning = re.split(r"  +", line)
    assert f"| {keys} | {meaning.removeprefix('this ')} |" in COMMAND_LINE
