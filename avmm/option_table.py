"""The options of a plugin: the keys of its table in a machine's description, each looked at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from avmm import config_checks as check
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
                known = f"there is {keys[0]}" if len(keys) == 1 else f"there are {', '.join(keys) or 'none'}"
                raise self.error(key, f"no such setting of {owner}; {known}")

    def error(self, key: str, text: str) -> ConfigError:
        """What is wrong with the value of `key`."""
        return ConfigError(text, key=f"{self._table}.{key}")

    def is_not(self, key: str, value: object, what: str) -> ConfigError:
        """The `value` at `key`, or in a table there, is not `what` it should be."""
        return self.error(key, f"{shown(value)} is not {what}")

    def integer(self, key: str, least: int, most: int) -> int | None:
        """A whole number from `least` to `most`; None when left out."""
        return self._checked(key, check.optional(check.whole(least, most)), None)

    def seconds(self, key: str, default: float) -> float:
        """A number from 0 to 86400, up to a day."""
        return self._checked(key, check.seconds, default)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        return self._checked(key, check.flag, default)

    def path(self, key: str) -> Path | None:
        """A file's path; None when left out."""
        return self._checked(key, check.optional(check.path), None)

    def text(self, key: str) -> str:
        """UTF-8 text without NUL; empty when left out."""
        return self._checked(key, check.text, "")

    def texts(self, key: str) -> list[str]:
        """A string, or a list of strings, none of them empty and all UTF-8 without NUL; an empty list when left out."""
        return self._checked(key, check.texts, [])

    def _checked(self, key: str, what: Callable[[object], check.Kept], default: object) -> check.Kept:
        try:
            return what(self.values.get(key, default))
        except ValueError as error:
            raise self.error(key, str(error)) from None


class DeviceTable(OptionTable):
    """The table of one device, `[devices.NAME]`, beside `kind`, `base` and `irq`."""

    def __init__(self, options: DeviceOptions, kind: str, keys: Sequence[str]) -> None:
        """`keys` are all there can be in the table of a `kind`."""
        super().__init__(options.options, f"devices.{options.name}", f"a {kind}", keys)
        self.name = options.name
