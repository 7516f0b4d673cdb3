"""The options of a plugin: the keys of its table in a machine's description, each looked at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from avmm.config_errors import shown
from avmm.device import DeviceOptions
from avmm.errors import ConfigError


class OptionTable:
    """What stands in one table. Every method raises ConfigError that names the key and says what would be right."""

    def __init__(self, values: Mapping[str, object], table: str, owner: str, keys: Sequence[str]) -> None:
        """`keys` are all there can be in the table called `table` (`arch`), which describes `owner` (`an arm64 machine`)."""
        self.values, self._table = values, table
        for key in values:
            if key not in keys:
                known = f"there are {', '.join(keys)}" if len(keys) > 1 else f"there is {keys[0]}"
                raise self.error(key, f"no such setting of {owner}; {known}")

    def error(self, key: str, text: str) -> ConfigError:
        """What is wrong with the value of `key`."""
        return ConfigError(text, key=f"{self._table}.{key}")

    def integer(self, key: str, least: int, most: int) -> int | None:
        """A whole number from `least` to `most`; None when left out."""
        value = self.values.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
            return value
        raise self.error(key, f"{shown(value)} is not a whole number from {least} to {most}")

    def seconds(self, key: str, default: float) -> float:
        """A number from 0 to 86400, up to a day."""
        value = self.values.get(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 86_400:
            return float(value)
        raise self.error(key, f"{shown(value)} is not a number of seconds from 0 to 86400")

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.values.get(key, default)
        if isinstance(value, bool):
            return value
        raise self.error(key, f"{shown(value)} is not true or false")

    def path(self, key: str) -> Path | None:
        """A file's path; None when left out."""
        value = self.values.get(key)
        if value is None or isinstance(value, Path):
            return value
        if isinstance(value, str) and value and "\0" not in value:
            return Path(value)
        raise self.error(key, f"{shown(value)} is not a path")

    def text(self, key: str) -> str:
        """A string without NUL; empty when left out."""
        value = self.values.get(key, "")
        if isinstance(value, str) and "\0" not in value:
            return value
        raise self.error(key, f"{shown(value)} is not a string without NUL characters")

    def texts(self, key: str) -> list[str]:
        """A string, or a list of strings, none of them empty and all without NUL; an empty list when left out."""
        value = self.values.get(key, [])
        given = [value] if isinstance(value, str) else value
        if isinstance(given, list) and all(isinstance(text, str) and text and "\0" not in text for text in given):
            return [str(text) for text in given]
        raise self.error(key, f"{shown(value)} is not a string or a list of strings")


class DeviceTable(OptionTable):
    """The table of one device, `[devices.NAME]`, beside `kind`, `base` and `irq`."""

    def __init__(self, options: DeviceOptions, kind: str, keys: Sequence[str]) -> None:
        """`keys` are all there can be in the table of a `kind`."""
        super().__init__(options.options, f"devices.{options.name}", f"a {kind}", keys)
        self.name = options.name
