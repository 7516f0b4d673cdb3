"""A machine's description, written in Python or TOML; every mistake is one clear line with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from avmm import config_checks as check
from avmm import user_cache
from avmm.config_errors import in_places, in_tables, shown
from avmm.errors import ConfigError
from avmm.record import Record

MAX_VCPUS = 512
"""KVM's own limit on arm64; an architecture or its interrupt controller may allow fewer."""
MAX_INSTRUCTIONS = (1 << 63) - 1
_PLUGIN_TABLES = ("arch", "engine")

Name = Annotated[str, check.name]
Options = Annotated[dict[str, object], check.options]
FilePath = Annotated[Path | None, check.optional(check.path)]
OptionalText = Annotated[str | None, check.optional(check.text)]
Endpoint = Annotated[str | None, check.optional(check.endpoint)]


class DeviceConfig(Record):
    """A further device: its plugin, and its place unless the architecture may choose one.

    What a TOML table holds beside `kind`, `base` and `irq` goes to the device plugin as `options`.
    """

    kind: Name
    base: Annotated[int | None, check.optional(check.address)] = None
    """Guest physical address of the first register."""
    irq: Annotated[int | None, check.optional(check.whole(0, 1019))] = None
    """The interrupt controller's shared input (0-based)."""
    options: Options = field(default_factory=dict)

    if TYPE_CHECKING:

        def __init__(
            self, *, kind: str, base: int | str | None = None, irq: int | None = None, options: Mapping[str, object] = {}
        ) -> None: ...

    else:

        def __init__(self, /, **values: object) -> None:
            super().__init__(**check.checked(_gather(values, _DEVICE_CHECKS, "options"), _DEVICE_CHECKS, required=("kind",)))


def _device(value: object) -> DeviceConfig:
    if isinstance(value, DeviceConfig):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"{shown(value)} is not a table")
    return DeviceConfig(**value)


class MachineConfig(Record):
    """What a machine is made of. Immutable; ConfigError (ConfigErrors for several) names every mistake at once."""

    name: Name = "vm0"
    arch: Name = "arm64"
    """The arch plugin; in TOML a name, or a table `[arch]` whose other keys are `arch_options`."""
    arch_options: Options = field(default_factory=dict)
    cpu: str = "cortex-a57"
    irqchip: str = ""
    """The interrupt controller by the architecture's name for it; empty for its default."""
    engine: Name = "unicorn"
    """The engine plugin; in TOML a name, or a table `[engine]` whose other keys are `engine_options`."""
    engine_options: Options = field(default_factory=dict)
    vcpus: Annotated[int, check.whole(1, MAX_VCPUS)] = 1
    memory: Annotated[int | str, check.size] = "256M"
    kernel: FilePath = None
    initrd: FilePath = None
    firmware: FilePath = None
    """What the machine starts instead of the kernel, which is then for the firmware to find."""
    nvram: FilePath = None
    """The file in which firmware keeps its variables; created when it is not there."""
    append: str = ""
    """The guest's command line."""
    clock: Literal["host", "virtual"] = "host"
    slot: Literal["thread", "inline"] = "thread"
    """Where guest code executes: in a thread of its own, or in slices in the event loop's."""
    smp_mode: Literal["auto", "parallel", "turns"] = "auto"
    """Whether several vCPUs execute guest code at the same time, a thread each, or take turns; `auto`: as the engine can."""
    affinity: Literal["free", "shared"] = "free"
    """Where threads run: wherever the kernel puts them, or guest and event loop on one core while nobody else wants it."""
    translation_cache: OptionalText = None
    """Where the engine may keep translations of guest code for later runs: a folder, `auto` (the user's cache), or `none`."""
    quantum_us: Annotated[int, check.whole(1, 10_000_000)] = 1000
    """How long a vCPU may keep its slot when others wait for it, in microseconds."""
    halt_poll_ns: Annotated[int, check.whole(0, 10_000_000)] = 0
    """How long a halted vCPU looks for something to run before it sleeps, in nanoseconds."""
    on_device_fault: Literal["continue", "stop"] = "continue"
    on_reset: Literal["reset", "exit"] = "reset"
    devices: Annotated[dict[str, DeviceConfig], check.table(check.name, _device)] = field(default_factory=dict)
    default_devices: bool = True
    """Whether the machine has its architecture's usual devices (a console, say) beside `devices`."""
    metrics: Endpoint = None
    """Where to serve metrics: `HOST:PORT`, or `:PORT` for every interface."""
    otlp: OptionalText = None
    """Where to push metrics by OpenTelemetry's protocol: `URL`, or `URL,interval=SECONDS`."""
    spans: OptionalText = None
    """Where to send the VM's life as spans by OpenTelemetry's protocol: `URL`."""
    trace: OptionalText = None
    """Where to write a timeline at the VM's end: `FILE`, or `FILE,events=N` to keep the last N events."""
    control: OptionalText = None
    """Where to serve the control API: a Unix socket's path, `auto` for one in the user's runtime directory, or `HOST:PORT`."""
    control_token_file: FilePath = None
    """The file with the token that clients of a TCP address must know."""
    ui: Endpoint = None
    """Where to serve the web page, and the control API with it: `HOST:PORT`, or `:PORT` for every interface."""
    count_instructions: bool = False
    instructions: Annotated[int | None, check.optional(check.whole(1, MAX_INSTRUCTIONS))] = None
    """How many instructions a vCPU may execute; the VM ends when one of them has executed so many."""

    _places: ClassVar[Mapping[str, str]] = {}
    """Where what stands at a dotted key was written; each machine has its own."""
    _given: ClassVar[Set[str]] = frozenset()

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            name: str = "vm0",
            arch: str | Mapping[str, object] = "arm64",
            arch_options: Mapping[str, object] = {},
            cpu: str = "cortex-a57",
            irqchip: str = "",
            engine: str | Mapping[str, object] = "unicorn",
            engine_options: Mapping[str, object] = {},
            vcpus: int = 1,
            memory: int | str = "256M",
            kernel: Path | str | None = None,
            initrd: Path | str | None = None,
            firmware: Path | str | None = None,
            nvram: Path | str | None = None,
            append: str = "",
            clock: Literal["host", "virtual"] = "host",
            slot: Literal["thread", "inline"] = "thread",
            smp_mode: Literal["auto", "parallel", "turns"] = "auto",
            affinity: Literal["free", "shared"] = "free",
            translation_cache: Path | str | None = None,
            quantum_us: int = 1000,
            halt_poll_ns: int = 0,
            on_device_fault: Literal["continue", "stop"] = "continue",
            on_reset: Literal["reset", "exit"] = "reset",
            devices: Mapping[str, DeviceConfig | Mapping[str, object]] = {},
            default_devices: bool = True,
            metrics: str | None = None,
            otlp: str | None = None,
            spans: str | None = None,
            trace: str | None = None,
            control: str | None = None,
            control_token_file: Path | str | None = None,
            ui: str | None = None,
            count_instructions: bool = False,
            instructions: int | None = None,
        ) -> None: ...

    else:

        def __init__(self, /, **values: object) -> None:
            flat = _open_plugin_tables(values)
            try:
                kept = check.checked(flat, _MACHINE_CHECKS)
            except ConfigError as error:
                raise in_tables(error, [key for key in _PLUGIN_TABLES if isinstance(values.get(key), Mapping)]) from None
            super().__init__(**kept)
            object.__setattr__(self, "_given", flat.keys())

    @property
    def instruments(self) -> dict[str, str]:
        """The settings of the instruments that are asked for, by the plugin's name."""
        token_file = "" if self.control_token_file is None else f",token-file={self.control_token_file}"
        settings = {
            "prometheus": self.metrics,
            "otlp": self.otlp,
            "spans": self.spans,
            "trace": self.trace,
            "control": None if self.control is None else self.control + token_file,
            "ui": None if self.ui is None else self.ui + token_file,
        }
        return {name: setting for name, setting in settings.items() if setting is not None}

    @property
    def translation_folder(self) -> Path | None:
        """The folder for translations; None when there is none, or the user has no home for it."""
        match self.translation_cache:
            case None | "none":
                return None
            case "auto":
                return user_cache.translation_cache()
            case folder:
                return Path(folder)

    @property
    def counting(self) -> bool:
        """True when the engine counts guest instructions: asked for, or needed for what is."""
        return self.count_instructions or self.instructions is not None or self.clock == "virtual"

    @property
    def memory_bytes(self) -> int:
        """Size of guest memory in bytes, a multiple of 4096."""
        return check.parse_size(self.memory)

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Read a machine from a TOML file. ConfigError names file and line.

        The files it names are relative to it, the `file` of a device included unless that is a URI.
        """
        from avmm import machine_file  # reads TOML: a machine described by options alone does without

        values, places = machine_file.read(Path(path))
        try:
            return cls(**values)._written(places)
        except ConfigError as error:
            raise in_places(error, places) from None

    def with_overrides(self, changes: Mapping[str, object], places: Mapping[str, str] = {}) -> Self:
        """A copy with `changes` by key, checked anew. `places` says where each change comes from (`--memory`).

        Changing the plugin of `arch` or `engine` drops the options meant for the other.
        """
        values = {key: getattr(self, key) for key in self._given} | dict(changes)
        for key in _PLUGIN_TABLES:
            if changes.get(key, was := getattr(self, key)) != was and f"{key}_options" not in changes:
                values[f"{key}_options"] = {}
        here = {key: place for key, place in self._places.items() if self._stays(key, changes)} | dict(places)
        try:
            return type(self)(**values)._written(here)
        except ConfigError as error:
            raise in_places(error, here) from None

    def _written(self, places: Mapping[str, str]) -> Self:
        object.__setattr__(self, "_places", places)
        return self

    def _stays(self, key: str, changes: Mapping[str, object]) -> bool:
        """True when `changes` leave what stands at the dotted `key` as it is: all else, and entries that a new table has too."""
        top, *entry = key.split(".")[:2]
        if top not in changes:
            return True
        table, new = getattr(self, top, None), changes[top]
        return bool(entry) and isinstance(table, dict) and isinstance(new, Mapping) and new.get(entry[0]) == table.get(entry[0])

    def is_given(self, key: str) -> bool:
        """True when the setting was written down, be it with its default value."""
        return key in self._given

    def located(self, error: ConfigError) -> ConfigError:
        """`error` with the place of its key in this machine's description, when it has none yet."""
        return in_places(error, self._places)


def _open_plugin_tables(values: Mapping[str, object]) -> dict[str, object]:
    """Split a table `[engine]` or `[arch]` into the plugin's name and its options."""
    flat = dict(values)
    for key in _PLUGIN_TABLES:
        if isinstance(table := flat.get(key), Mapping):
            del flat[key]
            if "name" in table:
                flat[key] = table["name"]
            if isinstance(options := flat.get(f"{key}_options", {}), Mapping):
                flat[f"{key}_options"] = {**options, **{k: v for k, v in table.items() if k != "name"}}
    return flat


def _gather(values: Mapping[str, object], known: Iterable[str], into: str) -> dict[str, object]:
    """Move every key that is not `known` into the mapping `into`."""
    known = set(known)
    kept = {key: value for key, value in values.items() if key in known}
    given = values.get(into, {})
    if isinstance(given, Mapping):
        kept[into] = {**given, **{key: value for key, value in values.items() if key not in known}}
    return kept


_DEVICE_CHECKS = check.checks_of(DeviceConfig)
_MACHINE_CHECKS = check.checks_of(MachineConfig)
