"""Options that add a device each: `--net passt,tcp=8080:80` is a table of a machine's description in one word."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from dataclasses import field

from avmm.errors import ConfigError
from avmm.record import Record


class DeviceOption(Record):
    """A command-line option that adds a device each time it is given."""

    flag: str
    placeholder: str
    help: str
    kind: str
    """The device plugin."""
    key: str
    """The setting that stands first, without its name; also what the devices are called, with a number behind it."""
    stem: str = ""
    """What they are called instead."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Words that stand alone, and the setting that each makes true."""

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
    DeviceOption(
        "--disk",
        "FILE[,KEY=VALUE...]",
        "add a disk: an image, a block device, nbd://... or nbd+unix://...; with readonly, it is not written",
        "virtio-blk",
        "file",
        stem="disk",
        flags={"readonly": "read_only"},
    ),
    DeviceOption(
        "--hvc",
        "PORT[,KEY=VALUE...]",
        "add a virtio console (hvc0 in the guest): console (this terminal), stream:ADDRESS, listen:ADDRESS, file:PATH or none",
        "virtio-console",
        "hvc",
    ),
    DeviceOption(
        "--vsock",
        "PATH[,KEY=VALUE...]",
        "add a socket device: the host connects to this Unix socket, the guest to those at PATH_PORT",
        "virtio-vsock",
        "socket",
    ),
)


ANY_DEVICE = DeviceOption(
    "--device", "KIND[,KEY=VALUE...]", "add a device: its plugin, and the plugin's own settings", "", "kind"
)
"""The option for every other device: what stands first is the plugin's name."""


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """The options, each of which may be given several times."""
    for option in (*DEVICE_OPTIONS, ANY_DEVICE):
        parser.add_argument(
            option.flag, dest=option.dest, action="append", default=[], metavar=option.placeholder, help=option.help
        )


def devices(arguments: argparse.Namespace, there: Iterable[str]) -> tuple[dict[str, dict[str, object]], dict[str, str]]:
    """The tables of the devices that the options add beside those `there`, by name; and by its key the option each is from."""
    added: dict[str, dict[str, object]] = {}
    places: dict[str, str] = {}
    taken = set(there)
    for option in (*DEVICE_OPTIONS, ANY_DEVICE):
        for text in getattr(arguments, option.dest):
            table = settings(option, text)
            stem = text.partition(",")[0].removeprefix("virtio-") if option is ANY_DEVICE else option.stem or option.key
            number = 0
            while (name := f"{stem}{number}") in taken:
                number += 1
            taken.add(name)
            added[name] = table if option is ANY_DEVICE else {"kind": option.kind, **table}
            places[f"devices.{name}"] = option.flag
    return added, places


def settings(option: DeviceOption, text: str) -> dict[str, object]:
    """The settings in `VALUE,KEY=VALUE,...`; one that comes several times is a list. ConfigError for anything else."""
    first, *others = text.split(",")
    table: dict[str, object] = {option.key: first}
    for other in others:
        key, equals, value = (option.flags[other], "=", "true") if other in option.flags else other.partition("=")
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
