"""Entry points as installers write them down: `*.dist-info/entry_points.txt` in the folders that modules are imported from.

Importing `importlib.metadata` and asking it takes as long as making a small machine, so it is not asked for what is found here.
It knows more kinds of places, and what is wrong with those.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from importlib import import_module

from avmm.record import Record

_FOLDERS = (".dist-info", ".egg-info")
_OBJECT = re.compile(r"([\w.]+)\s*:\s*([\w.]+)")


class Written(Record):
    """One entry point: an object by its module and its name there, `module:attribute`."""

    name: str
    value: str

    def load(self) -> object:
        """Import the object. Whatever its module raises; AttributeError when it is not there."""
        module, _, attribute = self.value.partition(":")
        return reduce(getattr, attribute.strip().split("."), import_module(module.strip()))


def written() -> Mapping[str, Sequence[Written]]:
    """All of them, by group. Of a distribution that is there twice the first on the path counts, as it does for imports."""
    found: dict[str, list[Written]] = {}
    seen: set[str] = set()
    for folder in sys.path:
        for name in _distributions(folder or "."):
            project = re.sub(r"[-_.]+", "_", os.path.splitext(name)[0].partition("-")[0]).lower()
            if project not in seen:
                seen.add(project)
                for group, entry in _entries(os.path.join(folder or ".", name, "entry_points.txt")):
                    found.setdefault(group, []).append(entry)
    return found


def _distributions(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.lower().endswith(_FOLDERS)]
    except OSError:
        return []


def _entries(path: str) -> Iterator[tuple[str, Written]]:
    """Group and entry point, line by line; of a line that is something else nothing is said here."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError):
        return
    group = ""
    for line in lines:
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1]
        elif not line.startswith("#"):
            name, _, value = map(str.strip, line.partition("="))
            if _OBJECT.fullmatch(value):
                yield group, Written(name, value)
