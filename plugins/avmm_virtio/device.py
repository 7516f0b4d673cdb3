"""Virtio devices as devices of a machine: the factories behind the entry points."""

from __future__ import annotations

from avmm.plugin import Device, DeviceOptions, DeviceTable, parse_size
from avmm_virtio.balloon import VirtioBalloon
from avmm_virtio.entropy import VirtioEntropy
from avmm_virtio.mmio import VirtioMmio

_RATE_MOST = 1 << 30


def create_rng(options: DeviceOptions) -> Device:
    """The factory behind the name `virtio-rng`. `rate`: bytes a second at most, 1 to 2**30; without it there is no limit."""
    table = DeviceTable(options, "virtio-rng", ("rate",))
    return VirtioMmio(VirtioEntropy(options.clock, rate=table.integer("rate", 1, _RATE_MOST)), options)


def create_balloon(options: DeviceOptions) -> Device:
    """The factory behind the name `virtio-balloon`; ConfigError names the key that is wrong.

    `size`: what is to be in the balloon at first, like `memory` of the machine; nothing when left out. `statistics` (0): seconds
    between questions for the guest's statistics, 0 for none. `deflate_on_oom` (true): the guest may take memory back by itself
    before it kills a process. `reporting` (true): it may tell of free pages, which the host gets back.
    """
    table = DeviceTable(options, "virtio-balloon", ("size", "statistics", "deflate_on_oom", "reporting"))
    size, most = 0, sum(slot.size for slot in options.memory if not slot.read_only)
    if (given := table.values.get("size")) is not None:
        try:
            size = parse_size(given)
        except ValueError as error:
            raise table.error("size", str(error)) from None
        if size > most:
            raise table.error("size", f"{given!r} is more than the guest's memory, {most} bytes")
    balloon = VirtioBalloon(
        options.clock,
        size=size,
        statistics_s=table.seconds("statistics", 0),
        deflate_on_oom=table.flag("deflate_on_oom", default=True),
        reporting=table.flag("reporting", default=True),
    )
    return VirtioMmio(balloon, options)
