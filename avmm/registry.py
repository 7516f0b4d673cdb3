"""The plugins that are installed: found by their entry points, loaded by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

from avmm.arch import ArchFactory
from avmm.command import CommandFactory
from avmm.device import DeviceFactory
from avmm.engine import EngineFactory
from avmm.entry_points import Written, written
from avmm.errors import PluginError
from avmm.instrument import InstrumentFactory
from avmm.record import Record

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Factory = TypeVar("Factory", bound=Callable[..., object], covariant=True)


class Group(Record, Generic[Factory]):
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


class PluginInfo(Record):
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


class Entry(Protocol):
    """An entry point, whoever has found it."""

    @property
    def name(self) -> str: ...

    @property
    def value(self) -> str: ...

    def load(self) -> object: ...


def entries(group: Group[Factory]) -> Iterable[EntryPoint]:
    """All entry points of a group, wherever they are."""
    from importlib.metadata import entry_points  # not for what every run needs: see `avmm.entry_points`

    return entry_points(group=group.entry_points)


def load(group: Group[Factory], name: str, known: Mapping[str, Sequence[Written]] | None = None) -> Factory:
    """The factory of plugin `name`; PluginError, in one clear line, when there is none or it cannot be loaded.

    `known`: the entry points `written()` before; finding them reads a file of every distribution there is.
    """
    quick = [entry for entry in (written() if known is None else known).get(group.entry_points, ()) if entry.name == name]
    if len(quick) == 1:
        return _load(group, quick[0])
    found = [entry for entry in entries(group) if entry.name == name]
    if not found:
        raise PluginError(f"{group.kind} {name}", _not_found(group))
    if len(found) > 1:
        owners = ", ".join(sorted(_distribution(entry)[0] for entry in found))
        raise PluginError(f"{group.kind} {name}", f"offered by several distributions ({owners}); keep one of them")
    return _load(group, found[0])


def is_installed(group: Group[Factory], name: str) -> bool:
    """True when a plugin of that name is installed, whether it can be loaded or not."""
    known = written().get(group.entry_points, ())
    return any(entry.name == name for entry in known) or any(entry.name == name for entry in entries(group))


def survey() -> list[PluginInfo]:
    """Every installed plugin, by kind and name. One that cannot be loaded says why and takes nothing else down."""
    infos = []
    for group in GROUPS:
        for entry in sorted(entries(group), key=lambda entry: entry.name):
            state, reason = PluginState.LOADED, ""
            try:
                load(group, entry.name)
            except PluginError as error:
                state, reason = PluginState.FAILED, error.message
            infos.append(PluginInfo(group.kind, entry.name, entry.value, *_distribution(entry), state, reason))
    return infos


def _load(group: Group[Factory], entry: Entry) -> Factory:
    try:
        factory = entry.load()
    except (Exception, SystemExit) as error:  # the plugin boundary: whatever importing it does, it is this plugin's failure
        raise PluginError(f"{group.kind} {entry.name}", _why(entry, error)) from error
    if not callable(factory):
        raise PluginError(f"{group.kind} {entry.name}", f"{entry.value} is not callable")
    return cast(Factory, factory)


def _not_found(group: Group[Factory]) -> str:
    names = sorted({entry.name for entry in entries(group)})
    return f"no such {group.kind}; there is {', '.join(names)}" if names else f"no {group.kind} is installed (pip install avmm)"


def _why(entry: Entry, error: BaseException) -> str:
    """Why an entry point could not be loaded, in one line."""
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRAS.get((error.name or "").partition(".")[0])):
        return f"needs the package {error.name}: pip install 'avmm[{extra}]'"
    lines = str(error).strip().splitlines()
    return f"cannot be imported from {entry.value}: {type(error).__name__}" + (f": {lines[0]}" if lines else "")


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that brings an entry point."""
    return (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")
