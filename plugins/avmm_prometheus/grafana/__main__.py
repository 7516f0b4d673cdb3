"""Writes the dashboards into the package's data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from avmm_prometheus.grafana.fleet import fleet
from avmm_prometheus.grafana.vcpu import vcpu
from avmm_prometheus.grafana.vm import vm

DIRECTORY = Path(__file__).parents[1] / "files" / "grafana" / "dashboards"


def dashboards() -> Iterator[tuple[str, str]]:
    """Each dashboard's file name and text."""
    boards: dict[str, Dashboard] = {"fleet": fleet(), "vm": vm(), "vcpu": vcpu()}
    for name, made in boards.items():
        board = made.build()
        for number, panel in enumerate(board.panels or [], 1):
            panel.id_val = number
        yield f"avmm-{name}.json", JSONEncoder(sort_keys=True, indent=1).encode(board) + "\n"


def main() -> None:
    """Write all of them."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, text in dashboards():
        (DIRECTORY / name).write_text(text)


if __name__ == "__main__":
    main()
