"""The contract of a command that a plugin brings: `avmm NAME`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Protocol


class Command(Protocol):
    """A command of the command line. A module with these names is one; its docstring is the long help."""

    HELP: str
    """What it does, in a few words."""
    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what the command understands."""

    def command(self, arguments: argparse.Namespace) -> int:
        """Carry it out; the process's exit status. AvmmError for what is one line to the user."""


CommandFactory = Callable[[], Command]
"""What an entry point of the group `avmm.commands` names. Loading it must be cheap: `avmm --help` does."""
