"""Mistakes in a machine's description in plain words, each with its dotted key and its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from avmm.errors import ConfigError


class ConfigErrors(ConfigError):
    """Several mistakes in one description; `str()` is one line each."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


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


def _nearest(key: str, places: Mapping[str, str]) -> str:
    while key and key not in places:
        key = key.rpartition(".")[0]
    return key


def in_syntax(error: ValueError, path: Path, text: str) -> ConfigError:
    """A file that is not TOML, with the line where reading stopped."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
    message, line = (match[1], match[2]) if match else (str(error), None)
    return ConfigError(f"not TOML: {message}", place=f"{path}:{line or max(1, len(text.splitlines()))}")


def from_validation(error: ValidationError, values: Mapping[str, object], settings: Iterable[str]) -> ConfigError:
    """What the validation of `values` found; `settings` are the names that exist at the top."""
    errors = [ConfigError(_message(detail, settings), key=_key(detail, values)) for detail in error.errors(include_url=False)]
    return errors[0] if len(errors) == 1 else ConfigErrors(errors)


def _key(detail: ErrorDetails, values: Mapping[str, object]) -> str:
    """The dotted key as it was written. A plugin's name may have been written as `name` in the plugin's own table."""
    path = [str(part) for part in detail["loc"] if part != "[key]"]
    if len(path) == 1 and isinstance(values.get(path[0]), Mapping) and detail["type"] != "extra_forbidden":
        path.append("name")
    return ".".join(path)


def _message(detail: ErrorDetails, settings: Iterable[str]) -> str:
    value, context = shown(detail["input"]), detail.get("ctx", {})
    match detail["type"]:
        case "missing":
            return "missing"
        case "extra_forbidden":
            close = difflib.get_close_matches(str(detail["loc"][-1]), list(settings), n=1, cutoff=0.7)
            return "no such setting" + (f"; did you mean {close[0]}?" if close else "")
        case "int_type":
            return f"{value} is not a whole number"
        case "string_type":
            return f"{value} is not a string"
        case "bool_type":
            return f"{value} is not true or false"
        case "is_instance_of":
            return f"{value} is not the path of a file"
        case "dict_type" | "model_type":
            return f"{value} is not a table"
        case "greater_than_equal":
            return f"{value} is less than {context['ge']}"
        case "less_than_equal":
            return f"{value} is more than {context['le']}"
        case "literal_error":
            return f"{value} is not one of {str(context['expected']).replace(' or ', ', ')}"
        case "value_error":
            return str(context["error"])
        case _:
            return f"{value}: {detail['msg']}"


def shown(value: object) -> str:
    """A value as TOML writes it, cut to a length that leaves one line readable."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
