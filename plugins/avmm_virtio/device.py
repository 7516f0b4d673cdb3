"""Virtio devices as devices of a machine: the factories behind the entry points."""

from __future__ import annotations

from avmm.plugin import ConfigError, Device, DeviceOptions
from avmm_virtio.console import TestDevice, VirtioConsole
from avmm_virtio.legacy import LegacyVirtioMmio


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
    return LegacyVirtioMmio(console, options)
