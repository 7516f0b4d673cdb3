"""Check whether machines can run here: versions, plugins, and what each engine finds when it tries itself out."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import avmm
from avmm.cli import plugins
from avmm.cli.exit_codes import ExitCode
from avmm.clock import VirtualClock
from avmm.config import MachineConfig
from avmm.engine import EngineOptions
from avmm.errors import AvmmError
from avmm.registry import ENGINES, PluginInfo, PluginState, entries, load, survey

_OPTIONAL = ("unicorn", "uvloop", "prometheus-client")


@dataclass(frozen=True, slots=True)
class Checkup:
    """What was found about one engine."""

    engine: str
    usable: bool
    detail: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `avmm doctor`."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def command(arguments: argparse.Namespace) -> int:
    """Carry out `avmm doctor`: an error when the default engine cannot be used."""
    versions, checkups, broken = _versions(), _check_engines(), _broken_plugins()
    healthy = any(checkup.usable and checkup.engine == _default("engine") for checkup in checkups)
    if arguments.json:
        report = {
            "versions": versions,
            "engines": [{"name": one.engine, "usable": one.usable, "detail": one.detail} for one in checkups],
            "broken_plugins": [plugins.as_json(info) for info in broken],
            "healthy": healthy,
        }
        print(json.dumps(report, indent=2), flush=True)
    else:
        print("\n".join(_lines(versions, checkups, broken, healthy=healthy)), flush=True)
    return ExitCode.OK if healthy else ExitCode.ERROR


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {
        "avmm": avmm.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for package in _OPTIONAL:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def _check_engines() -> list[Checkup]:
    names = sorted({entry.name for entry in entries(ENGINES)} | {_default("engine")})
    return [_check_engine(name) for name in names]


def _check_engine(name: str) -> Checkup:
    """Load an engine and try it: by its module's `self_check() -> str` when it has one, by making one engine otherwise."""
    try:
        factory = load(ENGINES, name)
        self_check = getattr(import_module(factory.__module__), "self_check", None)
        if self_check is not None:
            detail = str(self_check() or "works")
        else:
            factory(EngineOptions(_default("arch"), _default("cpu"), VirtualClock())).close()
            detail = "one could be made"
    except AvmmError as error:
        return Checkup(name, usable=False, detail=getattr(error, "message", str(error)))
    except Exception as error:  # noqa: BLE001 - the plugin boundary
        return Checkup(name, usable=False, detail=f"trying it raised {type(error).__name__}: {error}")
    return Checkup(name, usable=True, detail=detail)


def _default(setting: str) -> str:
    """A setting of every machine that does not say otherwise."""
    return str(getattr(MachineConfig(), setting))


def _broken_plugins() -> list[PluginInfo]:
    return [info for info in survey() if info.state is PluginState.FAILED]


def _lines(versions: dict[str, str | None], checkups: list[Checkup], broken: list[PluginInfo], *, healthy: bool) -> list[str]:
    lines = [f"{name:<18} {found or 'not installed'}" for name, found in versions.items()]
    lines += [f"engine {one.engine:<11} {'ok' if one.usable else 'UNUSABLE'}: {one.detail}" for one in checkups]
    lines += [f"{info.kind} {info.name}: {info.reason}" for info in broken if info.kind != ENGINES.kind]
    verdict = "can" if healthy else "cannot"
    return [*lines, f"avmm {verdict} run machines here with its default engine, {_default('engine')}"]
