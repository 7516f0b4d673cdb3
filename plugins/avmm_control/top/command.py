"""Watch running VMs in the terminal: what their vCPUs do, why they leave the guest, and the history of it.

All VMs of this user that `avmm run --control` lets be watched, or those that are named. Press h for help, q to quit.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from avmm.plugin import Command, ConfigError
from avmm_control.token import read_token

HELP = "watch running VMs in the terminal"
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `avmm top`."""
    parser.add_argument("vms", nargs="*", metavar="VM", help="its name, process, socket, or HOST:PORT (default: all of yours)")
    parser.add_argument("--interval", type=_interval, default=1.0, metavar="SECONDS", help="how often to look (default: 1)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="the token of HOST:PORT (or AVMM_CONTROL_TOKEN)")


def command(arguments: argparse.Namespace) -> int:
    """Carry out `avmm top`."""
    try:
        from avmm_control.top.app import Top
        from avmm_control.top.watch import Watch
    except ImportError as error:
        raise ConfigError(f"needs {error.name}: pip install 'avmm[top]'") from None
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError("avmm top needs a terminal; `avmm ps --json` and `avmm inspect --json` are for programs")

    async def run() -> None:
        async with Watch(arguments.vms, read_token(arguments.token_file)) as watch:
            await Top(watch, arguments.interval).run_async()

    asyncio.run(run())
    return 0


def _interval(text: str) -> float:
    """Seconds; ValueError else."""
    value = float(text)
    if not MIN_INTERVAL_S <= value <= MAX_INTERVAL_S:
        raise ValueError(text)
    return value


def create_command() -> Command:
    """This module, as the command it is."""
    return sys.modules[__name__]
