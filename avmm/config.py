"""A machine's description, written in Python or TOML; every mistake is one clear line with its place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from avmm.config_errors import from_validation, in_places, in_syntax, shown
from avmm.errors import ConfigError
from avmm.toml_places import key_lines

MAX_VCPUS = 512
"""KVM's own limit on arm64; an architecture or its interrupt controller may allow fewer."""
MEMORY_UNIT = 4096
"""Guest memory comes in multiples of this many bytes: the smallest page."""
MAX_MEMORY_BYTES = 1 << 40
_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_PLUGIN_TABLES = ("arch", "engine")


def _name(value: str) -> str:
    # Names become labels of metrics and parts of thread names, so they are few, short and plain.
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", value):
        raise ValueError(f"{shown(value)} is not a name: 1 to 32 of a-z, 0-9, _ and -, starting with a letter or digit")
    return value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a NUL character")
    return value


def parse_size(value: object) -> int:
    """A memory size in bytes from a whole number or a string like `256M` (K, M, G are powers of 1024); ValueError else."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,15})([KMG]?)", value.upper(), re.ASCII)):
        size = int(match[1]) * _SIZE_UNITS[match[2]]
    else:
        raise ValueError(f"{shown(value)} is not a size: a whole number of bytes, or a string like '256M' (K, M, G)")
    if not 0 < size <= MAX_MEMORY_BYTES or size % MEMORY_UNIT:
        raise ValueError(
            f"{shown(value)} is not a multiple of {MEMORY_UNIT} bytes between {MEMORY_UNIT} and {MAX_MEMORY_BYTES >> 30}G"
        )
    return size


def _size(value: object) -> object:
    parse_size(value)
    return value


def _address(value: object) -> object:
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            raise ValueError(f"{shown(value)} is not an address: a whole number, like 0x9000000") from None
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64):
        raise ValueError(f"{shown(value)} is not an address: a whole number from 0 to 2**64 - 1, like 0x9000000")
    return value


def parse_endpoint(value: str) -> tuple[str, int]:
    """(host, port) from `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (host empty: every interface); ValueError else."""
    host, colon, port = value.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535 or (":" in host and host[0] != "["):
        raise ValueError(f"{shown(value)} is not HOST:PORT or :PORT with a port from 0 to 65535")
    return host.strip("[]"), int(port)


def _endpoint(value: str) -> str:
    parse_endpoint(value)
    return value


def _place_files(devices: object, folder: Path) -> None:
    """Have the `file` of every device, unless it is a URI, start from `folder`. What is no table is told of later."""
    for table in devices.values() if isinstance(devices, dict) else ():
        if isinstance(table, dict) and isinstance(file := table.get("file"), str) and file and "://" not in file:
            table["file"] = str(folder / file)


def _path(value: object) -> object:
    return Path(value) if isinstance(value, str) and value else value


Name = Annotated[str, AfterValidator(_name)]
Size = Annotated[int | str, BeforeValidator(_size)]
Address = Annotated[int | None, BeforeValidator(_address)]
FilePath = Annotated[Path | None, BeforeValidator(_path)]


class DeviceConfig(BaseModel):
    """A further device: its plugin, and its place unless the architecture may choose one.

    What a TOML table holds beside `kind`, `base` and `irq` goes to the device plugin as `options`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Name
    base: Address = None
    """Guest physical address of the first register."""
    irq: int | None = Field(default=None, ge=0, le=1019)
    """The interrupt controller's shared input (0-based)."""
    options: dict[str, object] = {}

    if TYPE_CHECKING:

        def __init__(
            self, *, kind: str, base: int | str | None = None, irq: int | None = None, options: Mapping[str, object] = {}
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, values: object) -> object:
        return _gather(values, cls.model_fields, "options") if isinstance(values, dict) else values


class MachineConfig(BaseModel):
    """What a machine is made of. Immutable; ConfigError (ConfigErrors for several) names every mistake at once."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name = "vm0"
    arch: Name = "arm64"
    """The arch plugin; in TOML a name, or a table `[arch]` whose other keys are `arch_options`."""
    arch_options: dict[str, object] = {}
    cpu: str = "cortex-a57"
    irqchip: str = ""
    """The interrupt controller by the architecture's name for it; empty for its default."""
    engine: Name = "unicorn"
    """The engine plugin; in TOML a name, or a table `[engine]` whose other keys are `engine_options`."""
    engine_options: dict[str, object] = {}
    vcpus: int = Field(default=1, ge=1, le=MAX_VCPUS)
    memory: Size = "256M"
    kernel: FilePath = None
    initrd: FilePath = None
    firmware: FilePath = None
    """What the machine starts instead of the kernel, which is then for the firmware to find."""
    nvram: FilePath = None
    """The file in which firmware keeps its variables; created when it is not there."""
    append: Annotated[str, AfterValidator(_no_nul)] = ""
    """The guest's command line."""
    clock: Literal["host", "virtual"] = "host"
    slot: Literal["thread", "inline"] = "thread"
    """Where guest code executes: in a thread of its own, or in slices in the event loop's."""
    smp_mode: Literal["auto", "parallel", "turns"] = "auto"
    """Whether several vCPUs execute guest code at the same time, a thread each, or take turns; `auto`: as the engine can."""
    affinity: Literal["free", "shared"] = "free"
    """Where threads run: wherever the kernel puts them, or guest and event loop on one core while nobody else wants it."""
    quantum_us: int = Field(default=1000, ge=1, le=10_000_000)
    """How long a vCPU may keep its slot when others wait for it, in microseconds."""
    halt_poll_ns: int = Field(default=0, ge=0, le=10_000_000)
    """How long a halted vCPU looks for something to run before it sleeps, in nanoseconds."""
    on_device_fault: Literal["continue", "stop"] = "continue"
    on_reset: Literal["reset", "exit"] = "reset"
    devices: dict[Name, DeviceConfig] = {}
    default_devices: bool = True
    """Whether the machine has its architecture's usual devices (a console, say) beside `devices`."""
    metrics: Annotated[str, AfterValidator(_endpoint)] | None = None
    """Where to serve metrics: `HOST:PORT`, or `:PORT` for every interface."""
    otlp: Annotated[str, AfterValidator(_no_nul)] | None = None
    """Where to push metrics by OpenTelemetry's protocol: `URL`, or `URL,interval=SECONDS`."""
    spans: Annotated[str, AfterValidator(_no_nul)] | None = None
    """Where to send the VM's life as spans by OpenTelemetry's protocol: `URL`."""
    trace: Annotated[str, AfterValidator(_no_nul)] | None = None
    """Where to write a timeline at the VM's end: `FILE`, or `FILE,events=N` to keep the last N events."""
    control: Annotated[str, AfterValidator(_no_nul)] | None = None
    """Where to serve the control API: a Unix socket's path, `auto` for one in the user's runtime directory, or `HOST:PORT`."""
    control_token_file: FilePath = None
    """The file with the token that clients of a TCP address must know."""
    ui: Annotated[str, AfterValidator(_endpoint)] | None = None
    """Where to serve the web page, and the control API with it: `HOST:PORT`, or `:PORT` for every interface."""
    count_instructions: bool = False
    instructions: int | None = Field(default=None, ge=1, lt=1 << 63)
    """How many instructions a vCPU may execute; the VM ends when one of them has executed so many."""

    _places: dict[str, str] = PrivateAttr(default_factory=dict)

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
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise from_validation(error, values, type(self).model_fields) from None

    @model_validator(mode="before")
    @classmethod
    def _open_plugin_tables(cls, values: object) -> object:
        """Split a table `[engine]` or `[arch]` into the plugin's name and its options."""
        if not isinstance(values, dict):
            return values
        flat = dict(values)
        for key in _PLUGIN_TABLES:
            if isinstance(table := flat.get(key), Mapping):
                del flat[key]
                if "name" in table:
                    flat[key] = table["name"]
                if isinstance(options := flat.get(f"{key}_options", {}), Mapping):
                    flat[f"{key}_options"] = {**options, **{k: v for k, v in table.items() if k != "name"}}
        return flat

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
    def counting(self) -> bool:
        """True when the engine counts guest instructions: asked for, or needed for what is."""
        return self.count_instructions or self.instructions is not None or self.clock == "virtual"

    @property
    def memory_bytes(self) -> int:
        """Size of guest memory in bytes, a multiple of 4096."""
        return parse_size(self.memory)

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Read a machine from a TOML file. ConfigError names file and line.

        The files it names are relative to it, the `file` of a device included unless that is a URI.
        """
        path = Path(path)
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
        for key in ("kernel", "initrd", "firmware", "nvram", "control_token_file"):
            if isinstance(value := values.get(key), str) and value:
                values[key] = path.parent / value
        _place_files(values.get("devices"), path.parent)
        places = {"": str(path)} | {key: f"{path}:{line}" for key, line in key_lines(text).items()}
        try:
            config = cls(**values)
        except ConfigError as error:
            raise in_places(error, places) from None
        config._places = places
        return config

    def with_overrides(self, changes: Mapping[str, object], places: Mapping[str, str] = {}) -> Self:
        """A copy with `changes` by key, checked anew. `places` says where each change comes from (`--memory`).

        Changing the plugin of `arch` or `engine` drops the options meant for the other.
        """
        values = {key: getattr(self, key) for key in type(self).model_fields} | dict(changes)
        for key in _PLUGIN_TABLES:
            if values[key] != getattr(self, key) and f"{key}_options" not in changes:
                values[f"{key}_options"] = {}
        here = {key: place for key, place in self._places.items() if self._stays(key, changes)} | dict(places)
        try:
            config = type(self)(**values)
        except ConfigError as error:
            raise in_places(error, here) from None
        config._places = here
        return config

    def _stays(self, key: str, changes: Mapping[str, object]) -> bool:
        """True when `changes` leave what stands at the dotted `key` as it is: all else, and entries that a new table has too."""
        top, *entry = key.split(".")[:2]
        if top not in changes:
            return True
        table, new = getattr(self, top, None), changes[top]
        return bool(entry) and isinstance(table, dict) and isinstance(new, Mapping) and new.get(entry[0]) == table.get(entry[0])

    def located(self, error: ConfigError) -> ConfigError:
        """`error` with the place of its key in this machine's description, when it has none yet."""
        return in_places(error, self._places)


def _gather(values: Mapping[str, object], known: Iterable[str], into: str) -> dict[str, object]:
    """Move every key that is not `known` into the mapping `into`."""
    known = set(known)
    kept = {key: value for key, value in values.items() if key in known}
    given = values.get(into, {})
    if isinstance(given, Mapping):
        kept[into] = {**given, **{key: value for key, value in values.items() if key not in known}}
    return kept
