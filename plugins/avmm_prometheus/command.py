"""Write what Prometheus and Grafana need to show avmm's metrics: rules, dashboards, or a whole configuration.

avmm metrics rules --output DIR         recording and alerting rules for Prometheus
avmm metrics dashboards --output DIR    dashboards for Grafana, to import or to provision
avmm metrics config --output DIR        both, with a prometheus.yml that scrapes --target, and Grafana's provisioning files
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from avmm.plugin import Command, ConfigError, parse_endpoint

HELP = "write rules and dashboards for Prometheus and Grafana"
TARGET = "127.0.0.1:9464"
_DASHBOARDS = "/etc/grafana/dashboards/avmm"
_PARTS = {"rules": "prometheus/rules", "dashboards": "grafana/dashboards", "config": ""}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `avmm metrics`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=tuple(_PARTS), help="what to write")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where to; made if it is not there")
    parser.add_argument(
        "--target", default=TARGET, metavar="HOST:PORT", help=f"where `avmm run --metrics` serves (default: {TARGET})"
    )


def command(arguments: argparse.Namespace) -> int:
    """Carry out `avmm metrics`."""
    try:
        host, _ = parse_endpoint(arguments.target)
    except ValueError as error:
        raise ConfigError(str(error), place="--target") from None
    if not host:
        raise ConfigError(f"{arguments.target} names no host to scrape: 127.0.0.1{arguments.target}, perhaps", place="--target")
    output: Path = arguments.output
    for name, text in _texts(_PARTS[arguments.what]):
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dashboards = (output / "grafana" / "dashboards").absolute()
        path.write_text(text.replace(TARGET, arguments.target).replace(_DASHBOARDS, str(dashboards)))
        print(path, flush=True)
    return 0


def _texts(part: str) -> Iterator[tuple[PurePosixPath, str]]:
    """The files of a part, by their path below it, with their text."""
    root = files("avmm_prometheus").joinpath("files")

    def below(directory: Traversable, path: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
        for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
            if entry.is_dir():
                yield from below(entry, path / entry.name)
            else:
                yield path / entry.name, entry.read_text(encoding="utf-8")

    return below(root.joinpath(part) if part else root, PurePosixPath())


def create_command() -> Command:
    """This module, as the command it is."""
    return sys.modules[__name__]
