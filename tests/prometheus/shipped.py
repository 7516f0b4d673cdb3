"""The files that come with the exporter, and the expressions in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

FILES = Path(__file__).parents[2] / "plugins/avmm_prometheus/files"
DASHBOARDS = sorted((FILES / "grafana/dashboards").glob("*.json"))
RULES = sorted((FILES / "prometheus/rules").glob("*.yml"))
RULE_TESTS = Path(__file__).parent / "rules.test.yml"


def panels(path: Path) -> list[dict]:
    """The panels of a dashboard, rows included."""
    return json.loads(path.read_text())["panels"]


def expressions(path: Path) -> Iterator[tuple[str, str]]:
    """(panel title, expression) of a dashboard's queries."""
    for panel in panels(path):
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def names(kind: str) -> list[str]:
    """The names of all rules of a kind, `alert` or `record`."""
    return [name for path in RULES for name in re.findall(rf"^ +- {kind}: (\S+)$", path.read_text(), re.MULTILINE)]
