"""Commands that plugins bring: entry points of the group `avmm.commands`."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from avmm import registry
from avmm.errors import PluginError


def add_commands(
    add: Callable[[str, str, str | None], argparse.ArgumentParser], taken: frozenset[str], wanted: str | None = None
) -> None:
    """Have `add(name, help, description)` make a parser for each command that a plugin brings, but for names that are `taken`.

    One that cannot be loaded says so in its help; PluginError when it is the one that is `wanted`.
    """
    for name in sorted({entry.name for entry in registry.entries(registry.COMMANDS)} - taken):
        try:
            command = registry.load(registry.COMMANDS, name)()
        except PluginError as error:
            if name == wanted:
                raise
            add(name, f"cannot be used: {error.message}", None)
            continue
        parser = add(name, command.HELP, command.__doc__)
        command.add_arguments(parser)
        parser.set_defaults(command=command.command)
