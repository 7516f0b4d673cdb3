"""Summarise a timeline that `avmm run --trace` has written: longest kick to exit, longest halt, exits by reason; and draw it.

The file itself opens in Perfetto (https://ui.perfetto.dev).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from avmm.plugin import Command

HELP = "summarise and draw a timeline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `avmm trace`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `avmm run --trace FILE` has written")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the vCPUs and their kicks")
    parser.add_argument("--from", dest="start", type=_seconds, metavar="SECONDS", default=0, help="draw from here on")
    parser.add_argument("--to", dest="end", type=_seconds, metavar="SECONDS", help="draw up to here")


def command(arguments: argparse.Namespace) -> int:
    """Carry out `avmm trace`."""
    from avmm_trace.perfetto_file import read
    from avmm_trace.summary import Summary
    from avmm_trace.svg import draw

    timeline = read(arguments.file)
    summary = Summary.of(timeline)
    if arguments.svg is not None:
        arguments.svg.write_text(draw(timeline, arguments.start, arguments.end))
    print(json.dumps(summary.to_json(), indent=2) if arguments.json else summary.text(), flush=True)
    return 0


def _seconds(text: str) -> int:
    """Nanoseconds from seconds; ValueError else."""
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError(text)
    return round(value * 1e9)


def create_command() -> Command:
    """This module, as the command it is."""
    return sys.modules[__name__]
