"""Run a machine with its console on this terminal. Ctrl-A h there tells what else can be done.

The machine is described by a TOML file, by options, or by both: options win. Without a terminal, standard input goes to the
guest's console as it is, and its end is no reason to stop.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from avmm import registry
from avmm.cli.devices import add_device_arguments, devices
from avmm.cli.session import Session
from avmm.config import MachineConfig
from avmm.errors import ConfigError
from avmm.loader.kernel import is_flat

_OVERRIDES: dict[str, tuple[str, str, str]] = {
    "kernel": ("--kernel", "FILE", "the guest: ELF, Linux arm64 Image, or a flat image"),
    "initrd": ("--initrd", "FILE", "the guest's initial RAM disk"),
    "firmware": ("--firmware", "FILE", "firmware to start instead of the guest, which it finds by itself or is given"),
    "nvram": ("--nvram", "FILE", "where the firmware keeps its variables"),
    "append": ("--append", "TEXT", "the guest's command line"),
    "vcpus": ("--smp", "N", "how many vCPUs"),
    "memory": ("--memory", "SIZE", "guest memory: bytes, or with K, M, G"),
    "cpu": ("--cpu", "MODEL", "the CPU the guest sees"),
    "irqchip": ("--irqchip", "NAME", "the interrupt controller, by the architecture's name for it"),
    "arch": ("--arch", "NAME", "the architecture plugin"),
    "engine": ("--engine", "NAME", "the engine plugin"),
    "metrics": ("--metrics", "HOST:PORT", "serve metrics here while the machine runs"),
    "otlp": ("--otlp", "URL", "push metrics there by OTLP while the machine runs (URL,interval=SECONDS: every 10 s otherwise)"),
    "spans": ("--spans", "URL", "send the machine's life there as spans by OTLP"),
    "trace": ("--trace", "FILE", "write a timeline for Perfetto here at the end (FILE,events=N: the last N events)"),
    "control": ("--control", "PATH|HOST:PORT", "let the machine be steered from here (without a value: a socket of your own)"),
    "ui": ("--ui", "HOST:PORT", "serve a web page here that shows the machine and steers it"),
    "control_token_file": ("--control-token-file", "FILE", "the token that clients of --control HOST:PORT and --ui must know"),
    "name": ("--name", "NAME", "the machine's name in logs and metrics"),
    "clock": ("--clock", "host|virtual", "real time, or time that moves with guest instructions"),
    "slot": ("--slot", "thread|inline", "guest code in its own thread, or in the event loop's"),
    "instructions": ("--instructions", "N", "end the machine when a vCPU has executed so many instructions"),
    "smp_mode": ("--smp-mode", "parallel|turns", "vCPUs at the same time, a thread each, or in turn"),
    "on_reset": ("--on-reset", "reset|exit", "what a reset by the guest does: starts it again (the default), or ends it"),
    "translation_cache": (
        "--translation-cache",
        "DIR|auto|none",
        "where translated guest code is kept for later runs (auto: the cache)",
    ),
    "affinity": ("--affinity", "shared|free", "guest and event loop share a core while they can (the default), or not"),
}
"""Options that override a setting of the same meaning: flag, placeholder and help by the setting's key."""
_NUMBERS = ("vcpus", "instructions")
_WITHOUT_VALUE = {"control": "auto"}
"""What an option means that is given without a value."""


_TEST_DEVICE_KIND = "virtio-console"
_TEST_DEVICE: dict[str, object] = {"kind": _TEST_DEVICE_KIND, "testdev": True}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `avmm run`."""
    parser.add_argument("machine", nargs="?", type=Path, help="a machine's description in TOML")
    for key, (flag, placeholder, text) in _OVERRIDES.items():
        flags = (flag, "--gic") if key == "irqchip" else (flag,)
        added = parser.add_argument(*flags, dest=key, metavar=placeholder, help=text, type=int if key in _NUMBERS else str)
        if key in _WITHOUT_VALUE:
            added.nargs, added.const = "?", _WITHOUT_VALUE[key]
    parser.add_argument(
        "--testdev",
        action=argparse.BooleanOptionalAction,
        help="a test device, by which the guest ends the machine and says what to exit with; there is one for a flat image",
    )
    add_device_arguments(parser)
    parser.add_argument("--stats", action="store_true", help="print live statistics every second, and a table at the end")
    parser.add_argument(
        "--loop", choices=("auto", "asyncio", "uvloop"), default="auto", help="the event loop (auto: uvloop if it is there)"
    )


def command(arguments: argparse.Namespace) -> int:
    """Carry out `avmm run`."""
    config = machine(arguments)
    factory = loop_factory(arguments.loop)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_run(config, live=arguments.stats))


async def _run(config: MachineConfig, *, live: bool) -> int:
    return await Session(config, stdin=_fd(sys.stdin), stdout=_fd(sys.stdout), live=live).run()


def machine(arguments: argparse.Namespace) -> MachineConfig:
    """The machine that the command line describes; ConfigError names the option or the line of the file that is wrong."""
    config = MachineConfig() if arguments.machine is None else MachineConfig.from_toml(arguments.machine)
    changes = {key: value for key in _OVERRIDES if (value := getattr(arguments, key)) is not None}
    if not config.is_given("affinity"):
        changes.setdefault("affinity", "shared")  # this process is the machine's alone: its threads are ours to place
    if not config.is_given("translation_cache"):
        changes.setdefault("translation_cache", "auto")
    places = {key: _OVERRIDES[key][0] for key in changes}
    added, device_places = devices(arguments, config.devices)
    if arguments.testdev or (arguments.testdev is None and _implies_test_device(arguments, added)):
        added["testdev"] = _TEST_DEVICE
        device_places["devices.testdev"] = "--testdev"
    if added:
        changes["devices"] = {**config.devices, **added}
        places.update(device_places)
    config = config.with_overrides(changes, places)
    if config.kernel is None and config.firmware is None:
        text = "missing: name the guest with --kernel or --firmware, or in the machine's description"
        raise config.located(ConfigError(text, key="kernel"))
    return config


def _implies_test_device(arguments: argparse.Namespace, added: dict[str, dict[str, object]]) -> bool:
    """A flat image started by options alone is bare-metal code: it may have a verdict, and sees no more than it looks for."""
    if arguments.machine is not None or arguments.kernel is None or arguments.firmware is not None:
        return False
    if any(device["kind"] == _TEST_DEVICE_KIND for device in added.values()):
        return False  # what the guest finds first must be what was asked for
    return is_flat(Path(arguments.kernel)) and registry.is_installed(registry.DEVICES, _TEST_DEVICE_KIND)


def loop_factory(choice: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop of that name; None for asyncio's own. ConfigError when uvloop is wanted and not there."""
    if choice == "asyncio" or (choice == "auto" and find_spec("uvloop") is None):
        return None
    try:
        import uvloop
    except ImportError:
        raise ConfigError("uvloop is not installed: pip install 'avmm[uvloop]'", place="--loop") from None
    return uvloop.new_event_loop


def _fd(stream: TextIO | None) -> int | None:
    """The stream's file descriptor; None when it was closed before we started."""
    return None if stream is None else stream.fileno()
