"""Options that add a device each: `--net passt,tcp=8080:80` is a table of a machine's description in one word."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass

from avmm.config import DeviceConfig
from avmm.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DeviceOption:
    """A command-line option that adds a device each time it is given."""

    flag: str
    placeholder: str
    help: str
    kind: str
    """The device plugin."""
    key: str
    """The setting that stands first, without its name; also what the devices are called, with a number behind it."""

    @property
    def dest(self) -> str:
        """Where argparse keeps it."""
        return f"device_{self.key}"


DEVICE_OPTIONS = (
    DeviceOption(
        "--net",
        "NET[,KEY=VALUE...]",
        "add a network card: passt, stream:ADDRESS, listen:ADDRESS, tap:NAME or none",
        "virtio-net",
        "net",
    ),
)


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """The options, each of which may be given several times."""
    for option in DEVICE_OPTIONS:
        parser.add_argument(
            option.flag, dest=option.dest, action="append", default=[], metavar=option.placeholder, help=option.help
        )


def devices(arguments: argparse.Namespace, there: Mapping[str, DeviceConfig]) -> tuple[dict[str, DeviceConfig], dict[str, str]]:
    """The devices that the options add beside those `there`, by name; and the option that each comes from, by its key."""
    added: dict[str, DeviceConfig] = {}
    places: dict[str, str] = {}
    for option in DEVICE_OPTIONS:
        for text in getattr(arguments, option.dest):
            number = 0
            while (name := f"{option.key}{number}") in there or name in added:
                number += 1
            added[name] = DeviceConfig(kind=option.kind, options=settings(option, text))
            places[f"devices.{name}"] = option.flag
    return added, places


def settings(option: DeviceOption, text: str) -> dict[str, object]:
    """The settings in `VALUE,KEY=VALUE,...`; one that comes several times is a list. ConfigError for anything else."""
    first, *others = text.split(",")
    table: dict[str, object] = {option.key: first}
    for other in others:
        key, equals, value = other.partition("=")
        if not equals or not key:
            raise ConfigError(f"{other!r} is not KEY=VALUE", place=option.flag)
        before = table.get(key)
        if before is None:
            table[key] = _value(value)
        else:
            table[key] = [*(before if isinstance(before, list) else [before]), _value(value)]
    return table


def _value(text: str) -> object:
    """As TOML would have it, but for strings, which need no quotes."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[0-9]+", text, re.ASCII):
        return int(text)
    return float(text) if re.fullmatch(r"[0-9]+\.[0-9]+", text, re.ASCII) else text
