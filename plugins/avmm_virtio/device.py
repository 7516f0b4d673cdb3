"""Virtio devices as devices of a machine: the factories behind the entry points."""

from __future__ import annotations

from avmm.plugin import Device, DeviceOptions
from avmm_virtio.entropy import VirtioEntropy
from avmm_virtio.mmio import VirtioMmio
from avmm_virtio.options import OptionTable

_RATE_MOST = 1 << 30


def create_rng(options: DeviceOptions) -> Device:
    """The factory behind the name `virtio-rng`. `rate`: bytes a second at most, 1 to 2**30; without it there is no limit."""
    table = OptionTable(options, "virtio-rng", ("rate",))
    return VirtioMmio(VirtioEntropy(options.clock, rate=table.integer("rate", 1, _RATE_MOST)), options)
