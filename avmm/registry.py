"""The plugins that are installed: found by their entry points, loaded by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Generic, Protocol, TypeVar, cast

from avmm.arch import ArchFactory
from avmm.command import CommandFactory
from avmm.device import DeviceFactory
from avmm.engine import EngineFactory
from avmm.errors import PluginError
from avmm.instrument import InstrumentFactory

Factory = TypeVar("Factory", bound=Callable[..., object], covariant=True)


@dataclass(frozen=True, slots=True)
class Group(Generic[Factory]):
    """A kind of plugin: its entry-point group, and its name in messages. `Factory` is what such an entry point names."""

    entry_points: str
    kind: str


ARCH: Group[ArchFactory] = Group("avmm.arch", "arch")
ENGINES: Group[EngineFactory] = Group("avmm.engines", "engine")
DEVICES: Group[DeviceFactory] = Group("avmm.devices", "device")
INSTRUMENTS: Group[InstrumentFactory] = Group("avmm.instruments", "instrument")
COMMANDS: Group[CommandFactory] = Group("avmm.commands", "command")
GROUPS: tuple[Group[Callable[..., object]], ...] = (ARCH, ENGINES, DEVICES, INSTRUMENTS, COMMANDS)

_EXTRAS = {
    "opentelemetry": "otlp",
    "perfetto": "trace",
    "prometheus_client": "prometheus",
    "unicorn": "unicorn",
    "uvloop": "uvloop",
}
"""The extra of avmm that brings a package, by the package's import name."""


class PluginState(Enum):
    """Whether a plugin's factory could be loaded."""

    LOADED = "loaded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """An installed plugin: what it is, where it comes from, and whether it can be used."""

    kind: str
    name: str
    target: str
    """The factory, as `module:attribute`."""
    distribution: str
    version: str
    state: PluginState
    reason: str = ""
    """Why it could not be loaded, in one line; empty when it was."""


class AllEntryPoints(Protocol):
    """The entry points of all distributions, as `entry_points()` gives them."""

    def select(self, *, group: str) -> EntryPoints: ...


def load(group: Group[Factory], name: str, installed: AllEntryPoints | None = None) -> Factory:
    """The factory of plugin `name`; PluginError, in one clear line, when there is none or it cannot be loaded.

    `installed`: the entry points found before; finding them reads a file of every distribution there is.
    """
    entries = entry_points(group=group.entry_points) if installed is None else installed.select(group=group.entry_points)
    found = [entry for entry in entries if entry.name == name]
    if not found:
        raise PluginError(f"{group.kind} {name}", _not_found(group))
    if len(found) > 1:
        owners = ", ".join(sorted(_distribution(entry)[0] for entry in found))
        raise PluginError(f"{group.kind} {name}", f"offered by several distributions ({owners}); keep one of them")
    return _load(group, found[0])


def is_installed(group: Group[Factory], name: str) -> bool:
    """True when a plugin of that name is installed, whether it can be loaded or not."""
    return bool(entry_points(group=group.entry_points, name=name))


def survey() -> list[PluginInfo]:
    """Every installed plugin, by kind and name. One that cannot be loaded says why and takes nothing else down."""
    infos = []
    for group in GROUPS:
        for entry in sorted(entry_points(group=group.entry_points), key=lambda entry: entry.name):
            state, reason = PluginState.LOADED, ""
            try:
                load(group, entry.name)
            except PluginError as error:
                state, reason = PluginState.FAILED, error.message
            infos.append(PluginInfo(group.kind, entry.name, entry.value, *_distribution(entry), state, reason))
    return infos


def _load(group: Group[Factory], entry: EntryPoint) -> Factory:
    try:
        factory = entry.load()
    except (Exception, SystemExit) as error:  # the plugin boundary: whatever importing it does, it is this plugin's failure
        raise PluginError(f"{group.kind} {entry.name}", _why(entry, error)) from error
    if not callable(factory):
        raise PluginError(f"{group.kind} {entry.name}", f"{entry.value} is not callable")
    return cast(Factory, factory)


def _not_found(group: Group[Factory]) -> str:
    names = sorted({entry.name for entry in entry_points(group=group.entry_points)})
    return f"no such {group.kind}; there is {', '.join(names)}" if names else f"no {group.kind} is installed (pip install avmm)"


def _why(entry: EntryPoint, error: BaseException) -> str:
    """Why an entry point could not be loaded, in one line."""
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRAS.get((error.name or "").partition(".")[0])):
        return f"needs the package {error.name}: pip install 'avmm[{extra}]'"
    lines = str(error).strip().splitlines()
    return f"cannot be imported from {entry.value}: {type(error).__name__}" + (f": {lines[0]}" if lines else "")


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that brings an entry point."""
    return (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")
