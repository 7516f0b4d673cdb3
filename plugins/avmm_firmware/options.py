"""The options of one device, each looked at once; ConfigError names the key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avmm.plugin import ConfigError, DeviceOptions


def wrong(options: DeviceOptions, key: str, text: str) -> ConfigError:
    """What is wrong with the value of `key`."""
    return ConfigError(text, key=f"devices.{options.name}.{key}")


def check_keys(options: DeviceOptions, kind: str, keys: Sequence[str]) -> None:
    """ConfigError for a key that is not one of `keys`."""
    for key in options.options:
        if key not in keys:
            raise wrong(options, key, f"no such setting of a {kind}; there are {', '.join(keys)}")


def flag(options: DeviceOptions, key: str) -> bool:
    """True or false; false when left out."""
    value = options.options.get(key, False)
    if not isinstance(value, bool):
        raise wrong(options, key, f"{value!r} is not true or false")
    return value


def path(options: DeviceOptions, key: str) -> Path | None:
    """A file's path; None when left out."""
    value = options.options.get(key)
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise wrong(options, key, f"{value!r} is not a path")
    return Path(value)


def text(options: DeviceOptions, key: str) -> str:
    """A string without NUL; empty when left out."""
    value = options.options.get(key, "")
    if not isinstance(value, str) or "\0" in value:
        raise wrong(options, key, f"{value!r} is not a string without NUL characters")
    return value
