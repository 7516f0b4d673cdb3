"""What a device is given by its machine, for devices without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from avmm.clock import VirtualClock
from avmm.plugin import Console, DeviceLock, DeviceOptions, GuestMemory, IrqLine
from avmm.testing.device_contract import RecordedIrqs


def device_options(
    memory: GuestMemory,
    table: Mapping[str, object] = {},
    shut_down: Callable[[str, int], None] = lambda detail, status: None,
    guest_fault: Callable[[str, str], None] = lambda kind, detail: None,
) -> DeviceOptions:
    lock = DeviceLock()
    line = IrqLine(RecordedIrqs(), 0, lock)
    return DeviceOptions("testdev", VirtualClock(), lock, Console(lock), line, table, memory, shut_down, guest_fault)
