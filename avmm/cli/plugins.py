"""List the installed plugins: architectures, engines, devices and instruments, and which of them cannot be loaded."""

from __future__ import annotations

import argparse
import json

from avmm.cli.exit_codes import ExitCode
from avmm.registry import PluginInfo, PluginState, survey


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `avmm plugins`."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def command(arguments: argparse.Namespace) -> int:
    """Carry out `avmm plugins`."""
    infos = survey()
    print(json.dumps([as_json(info) for info in infos], indent=2) if arguments.json else table(infos), flush=True)
    return ExitCode.OK


def as_json(info: PluginInfo) -> dict[str, str]:
    """A plugin as `--json` shows it."""
    return {
        "kind": info.kind,
        "name": info.name,
        "target": info.target,
        "distribution": info.distribution,
        "version": info.version,
        "state": info.state.value,
        "reason": info.reason,
    }


def table(infos: list[PluginInfo]) -> str:
    """The plugins as lines of text, the reason of a failure behind its plugin."""
    rows = [("KIND", "NAME", "FROM", "STATE")]
    for info in infos:
        state = f"failed: {info.reason}" if info.state is PluginState.FAILED else info.state.value
        rows.append((info.kind, info.name, f"{info.distribution} {info.version}", state))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join((*map(str.ljust, row, widths), row[3])) for row in rows)
