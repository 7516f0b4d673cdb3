"""Mistakes in a machine's description in plain words, each with its dotted key and its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from avmm.errors import ConfigError


class ConfigErrors(ConfigError):
    """Several mistakes in one description; `str()` is one line each."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


class Mistakes:
    """What checks find, gathered so that all of it is told at once."""

    def __init__(self) -> None:
        self._errors: list[ConfigError] = []

    def add(self, error: ConfigError) -> None:
        """One more."""
        self._errors.append(error)

    def look(self, key: str, check: Callable[[object], object], value: object) -> object:
        """What `check` makes of the value at `key`; None when it finds a mistake, which is one more."""
        try:
            return check(value)
        except ValueError as error:
            self.add(ConfigError(str(error), key=key))
        except ConfigError as error:
            for one in error.errors if isinstance(error, ConfigErrors) else (error,):
                self.add(ConfigError(one.message, key=f"{key}.{one.key}"))
        return None

    def tell(self) -> None:
        """ConfigError for one, ConfigErrors for several, nothing without any."""
        if self._errors:
            raise self._errors[0] if len(self._errors) == 1 else ConfigErrors(self._errors)


def in_places(error: ConfigError, places: Mapping[str, str]) -> ConfigError:
    """`error` with the place of its key, or of the innermost table around it; one that has a place keeps it.

    Several mistakes come out in the order of `places`: the order in which they were written.
    """
    if isinstance(error, ConfigErrors):
        order = {key: position for position, key in enumerate(places)}
        errors = sorted(error.errors, key=lambda one: order.get(_nearest(one.key, places), -1))
        return ConfigErrors(in_places(one, places) for one in errors)
    if error.place:
        return error
    return ConfigError(error.message, place=places.get(_nearest(error.key, places), ""), key=error.key)


def in_tables(error: ConfigError, tables: Iterable[str]) -> ConfigError:
    """`error` with the key as it was written: the name of a plugin stood as `name` in the plugin's own table."""
    if isinstance(error, ConfigErrors):
        return ConfigErrors(in_tables(one, tables) for one in error.errors)
    return ConfigError(error.message, place=error.place, key=f"{error.key}.name") if error.key in tables else error


def _nearest(key: str, places: Mapping[str, str]) -> str:
    while key and key not in places:
        key = key.rpartition(".")[0]
    return key


def in_syntax(error: ValueError, path: Path, text: str) -> ConfigError:
    """A file that is not TOML, with the line where reading stopped."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
    message, line = (match[1], match[2]) if match else (str(error), None)
    return ConfigError(f"not TOML: {message}", place=f"{path}:{line or max(1, len(text.splitlines()))}")


def no_such_setting(key: str, settings: Iterable[str]) -> ConfigError:
    """A key that is none of the `settings`, with the one that may have been meant."""
    from difflib import get_close_matches  # wanted for nothing else, and not for a machine without a mistake

    close = get_close_matches(key, list(settings), n=1, cutoff=0.7)
    return ConfigError("no such setting" + (f"; did you mean {close[0]}?" if close else ""), key=key)


def shown(value: object) -> str:
    """A value as TOML writes it, cut to a length that leaves one line readable."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
