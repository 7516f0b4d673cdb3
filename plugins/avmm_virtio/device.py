"""Virtio devices as devices of a machine: the factories behind the entry points."""

from __future__ import annotations

from avmm.plugin import ConfigError, Device, DeviceOptions
from avmm_virtio.console import TestDevice, VirtioConsole
from avmm_virtio.entropy import VirtioEntropy
from avmm_virtio.legacy import LegacyVirtioMmio
from avmm_virtio.mmio import VirtioMmio
from avmm_virtio.options import OptionTable

_RATE_MOST = 1 << 30


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


def create_rng(options: DeviceOptions) -> Device:
    """The factory behind the name `virtio-rng`. `rate`: bytes a second at most, 1 to 2**30; without it there is no limit."""
    table = OptionTable(options, "virtio-rng", ("rate",))
    return VirtioMmio(VirtioEntropy(options.clock, rate=table.integer("rate", 1, _RATE_MOST)), options)
