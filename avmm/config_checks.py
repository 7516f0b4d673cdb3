"""What a setting may be. A check gives the value to keep, or raises: ValueError, in words that follow the setting's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args, get_origin, get_type_hints

from avmm.config_errors import Mistakes, no_such_setting, shown
from avmm.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Check = Callable[[object], object]
"""A ConfigError's key is relative to the setting."""
Kept = TypeVar("Kept")

MEMORY_UNIT = 4096
"""Guest memory comes in multiples of this many bytes: the smallest page."""
MAX_MEMORY_BYTES = 1 << 40
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def text(value: object) -> str:
    """A string that a guest or another program can be given."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a string")
    if "\0" in value:
        raise ValueError(f"{shown(value)} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{shown(value)} is not UTF-8 text") from None
    return value


def texts(value: object) -> list[str]:
    """A string, or a list of strings, none of them empty."""
    given = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) and one for one in given):
        raise ValueError(f"{shown(value)} is not a string or a list of strings")
    return [text(one) for one in given]


def name(value: object) -> str:
    """What becomes labels of metrics and parts of thread names: few, short and plain characters."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a string")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", value):
        raise ValueError(f"{shown(value)} is not a name: 1 to 32 of a-z, 0-9, _ and -, starting with a letter or digit")
    return value


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is not true or false")
    return value


def whole(low: int, high: int) -> Callable[[object], int]:
    """A whole number from `low` to `high`."""

    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"{shown(value)} is not a whole number from {low} to {high}")

    return check


def seconds(value: object) -> float:
    """A number of seconds up to a day."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 86_400:
        return float(value)
    raise ValueError(f"{shown(value)} is not a number of seconds from 0 to 86400")


def one_of(choices: tuple[object, ...]) -> Check:
    """One of a few strings."""

    def check(value: object) -> object:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{shown(value)} is not one of {', '.join(map(repr, choices))}")
        return value

    return check


def optional(check: Callable[[object], Kept]) -> Callable[[object], Kept | None]:
    """None, or what `check` allows."""
    return lambda value: None if value is None else check(value)


def path(value: object) -> Path:
    """The path of a file."""
    if isinstance(value, Path) or (isinstance(value, str) and value and "\0" not in value):
        return Path(value)
    raise ValueError(f"{shown(value)} is not the path of a file")


def parse_size(value: object) -> int:
    """A memory size in bytes from a whole number or a string like `256M` (K, M, G are powers of 1024); ValueError else."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,15})([KMG]?)", value.upper(), re.ASCII)):
        size = int(match[1]) * _SIZE_UNITS[match[2]]
    else:
        raise ValueError(f"{shown(value)} is not a size: a whole number of bytes, or a string like '256M' (K, M, G)")
    if not 0 < size <= MAX_MEMORY_BYTES or size % MEMORY_UNIT:
        raise ValueError(
            f"{shown(value)} is not a multiple of {MEMORY_UNIT} bytes between {MEMORY_UNIT} and {MAX_MEMORY_BYTES >> 30}G"
        )
    return size


def size(value: object) -> object:
    """A memory size, kept as it was written."""
    parse_size(value)
    return value


def address(value: object) -> int:
    """A guest physical address: a number, or the text of one."""
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            raise ValueError(f"{shown(value)} is not an address: a whole number, like 0x9000000") from None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise ValueError(f"{shown(value)} is not an address: a whole number from 0 to 2**64 - 1, like 0x9000000")
    return value


def parse_endpoint(value: str) -> tuple[str, int]:
    """(host, port) from `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (host empty: every interface); ValueError else."""
    host, colon, port = value.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535 or (":" in host and host[0] != "["):
        raise ValueError(f"{shown(value)} is not HOST:PORT or :PORT with a port from 0 to 65535")
    return host.strip("[]"), int(port)


def endpoint(value: object) -> str:
    """An address to listen on, kept as it was written."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a string")
    parse_endpoint(value)
    return value


def table(key: Check, entry: Check) -> Check:
    """A table whose keys are what `key` allows, and its entries what `entry` does. Every mistake in it is told at once."""

    def check(value: object) -> dict[str, object]:
        if not isinstance(value, Mapping):
            raise ValueError(f"{shown(value)} is not a table")
        mistakes, kept = Mistakes(), {}
        for name, one in value.items():
            mistakes.look(str(name), key, name)
            kept[str(name)] = mistakes.look(str(name), entry, one)
        mistakes.tell()
        return kept

    return check


def anything(value: object) -> object:
    """What a plugin looks at."""
    return value


options: Check = table(text, anything)
"""A plugin's own settings."""


def checks_of(settings: type[DataclassInstance]) -> dict[str, Check]:
    """The check of each setting of a class, by its annotation: `Annotated[..., check]`, or a type that says it all."""
    hints = get_type_hints(settings, include_extras=True)
    return {setting.name: _check_of(hints[setting.name]) for setting in fields(settings)}


def _check_of(hint: object) -> Check:
    if get_origin(hint) is Annotated:
        check: Check = get_args(hint)[1]
        return check
    if get_origin(hint) is Literal:
        return one_of(get_args(hint))
    by_type: dict[object, Check] = {bool: flag, str: text}
    return by_type[hint]


def checked(values: Mapping[str, object], checks: Mapping[str, Check], required: Container[str] = ()) -> dict[str, object]:
    """What to keep of `values`, by the check of each; ConfigError (ConfigErrors for several) tells every mistake in them."""
    mistakes, kept = Mistakes(), {}
    for key, check in checks.items():
        if key in values:
            kept[key] = mistakes.look(key, check, values[key])
        elif key in required:
            mistakes.add(ConfigError("missing", key=key))
    for key in values:
        if key not in checks:
            mistakes.add(no_such_setting(key, checks))
    mistakes.tell()
    return kept
