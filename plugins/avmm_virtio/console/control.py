"""The control messages of a console with several ports (virtio 1.2, 5.3.6.2)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

_CONTROL = struct.Struct("<IHH")
"""struct virtio_console_control: id, event, value."""
_SIZE = struct.Struct("<HH")
"""struct virtio_console_resize: cols, rows."""


class Event(IntEnum):
    """What a message is about."""

    DEVICE_READY = 0
    PORT_ADD = 1
    """VIRTIO_CONSOLE_DEVICE_ADD."""
    PORT_REMOVE = 2
    """VIRTIO_CONSOLE_DEVICE_REMOVE."""
    PORT_READY = 3
    CONSOLE_PORT = 4
    RESIZE = 5
    PORT_OPEN = 6
    PORT_NAME = 7


class Control(NamedTuple):
    """A message without what may follow it."""

    port: int
    event: int
    value: int


def message(port: int, event: Event, value: int = 0, more: bytes = b"") -> bytes:
    """A message for the driver."""
    return _CONTROL.pack(port, event, value) + more


def resize(port: int, columns: int, rows: int) -> bytes:
    """RESIZE, in the order of the standard; Linux kernels from before 2025 take the first for the rows."""
    return message(port, Event.RESIZE, 0, _SIZE.pack(columns, rows))


def same_port(one: bytes, other: bytes) -> bool:
    """Both messages are about one port."""
    return one[:4] == other[:4]


def same_kind(one: bytes, other: bytes) -> bool:
    """Both messages are about the same of one port."""
    return one[:6] == other[:6]


def parse(data: bytes) -> Control | None:
    """A message of the driver's; None when it is too short for one."""
    return Control(*_CONTROL.unpack_from(data)) if len(data) >= _CONTROL.size else None
