"""The `avmm` command: what it understands, and how it reports what went wrong."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import avmm
from avmm.cli import logs
from avmm.cli.exit_codes import ExitCode
from avmm.errors import AvmmError
from avmm.log import LEVELS

COMMANDS = {
    "run": "run a machine with its console on this terminal",
    "fetch": "bring a guest from its distributor's archive",
    "plugins": "list the installed plugins",
    "doctor": "check whether machines can run here",
    "replay": "compare recorded transcripts with a machine of ours",
}
"""What each does: a module of that name beside this one, imported when it is wanted."""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the command line `argv` (default: the process's own) and return its exit status (`ExitCode`)."""
    _hold_standard_descriptors()
    argv = sys.argv[1:] if argv is None else argv
    try:
        gc.disable()  # what a command imports is no garbage, and looking for some takes a tenth of that time
        try:
            arguments = parser(argv).parse_args(argv)
        finally:
            gc.enable()
        logs.configure(arguments.log_level)
        command: Callable[[argparse.Namespace], int] = arguments.command
        return command(arguments)
    except AvmmError as error:
        _complain(str(error))
        return ExitCode.ERROR
    except BrokenPipeError:
        _give_up_stdout()
        return ExitCode.BROKEN_PIPE
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return ExitCode.ERROR
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The command line's grammar; of plugins' commands only what `argv` may need."""
    top = argparse.ArgumentParser(prog="avmm", description="Run virtual machines on asyncio.")
    top.add_argument("--version", action="version", version=f"avmm {avmm.__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--log-level", choices=LEVELS, default="warning", help="show events from this level on (default: warning)"
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, text: str, description: str | None) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common], help=text, description=description)

    wanted = next(iter(argv), None)
    for name, text in COMMANDS.items():
        if name != wanted:
            add(name, text, None)
            continue
        module = import_module(f"avmm.cli.{name}")
        command = add(name, text, module.__doc__)
        module.add_arguments(command)
        command.set_defaults(command=module.command)
    if wanted not in COMMANDS:
        from avmm.cli import plugin_commands

        plugin_commands.add_commands(add, frozenset(commands.choices), wanted)
    return top


def _hold_standard_descriptors() -> None:
    """Open what was closed of descriptors 0 to 2, so that nothing else is given these numbers, and then written to by mistake."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: `fd`


def _complain(message: str) -> None:
    stream = logs.Diagnostics()
    for line in message.splitlines():
        stream.write(f"avmm: {line}\n")
    stream.flush()


def _give_up_stdout() -> None:
    """Nobody reads our output: have the interpreter's last flush of it go nowhere."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
