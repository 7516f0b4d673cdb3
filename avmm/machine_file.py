"""A machine's description in a TOML file: what it says, and the line of each setting."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from avmm.config_errors import in_syntax
from avmm.errors import ConfigError
from avmm.toml_places import key_lines


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings of the file, and by dotted key the place where each was written. ConfigError names file and line.

    The files it names are relative to it, the `file` of a device included unless that is a URI.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(error.strerror or str(error), place=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"byte {error.start} is not UTF-8 text", place=str(path)) from None
    try:
        values = tomllib.loads(text)
    except ValueError as error:
        raise in_syntax(error, path, text) from None
    except RecursionError:
        raise ConfigError("not TOML that avmm reads: nested too deeply", place=str(path)) from None
    _place_files(values, path.parent)
    return values, {"": str(path)} | {key: f"{path}:{line}" for key, line in key_lines(text).items()}


def _place_files(values: dict[str, object], folder: Path) -> None:
    """Have the files that `values` name start from `folder`. What is no path, or no table, is told of later."""
    for key in ("kernel", "initrd", "firmware", "nvram", "control_token_file"):
        if isinstance(value := values.get(key), str) and value:
            values[key] = folder / value
    cache = values.get("translation_cache")
    if isinstance(cache, str) and cache not in ("", "auto", "none"):
        values["translation_cache"] = str(folder / cache)
    devices = values.get("devices")
    for table in devices.values() if isinstance(devices, dict) else ():
        if isinstance(table, dict) and isinstance(file := table.get("file"), str) and file and "://" not in file:
            table["file"] = str(folder / file)
