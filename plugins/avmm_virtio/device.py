"""Virtio devices as devices of a machine: the factories behind the entry points."""

from __future__ import annotations

from avmm.plugin import ConfigError, Device, DeviceOptions
from avmm_virtio.console import TestDevice, VirtioConsole
from avmm_virtio.mmio import VirtioMmio


def create_console(options: DeviceOptions) -> Device:
    """The factory behind the name `virtio-console`. Option `testdev` must be true: see `TestDevice`."""
    for key in options.options:
        if key != "testdev":
            raise ConfigError("a virtio-console has one option, testdev", key=f"devices.{options.name}.{key}")
    if options.options.get("testdev") is not True:
        raise ConfigError(
            "must be true: a test device is all that a virtio-console leads to", key=f"devices.{options.name}.testdev"
        )
    console = VirtioConsole(TestDevice(options.shut_down).write)
    return VirtioMmio(console, options.memory, options.irq.set_level if options.irq else _nowhere)


def _nowhere(_level: bool) -> None:
    """The interrupt output of a device without an interrupt."""
