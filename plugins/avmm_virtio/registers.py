"""The registers of a virtio device on memory-mapped I/O (virtio 1.2, 4.2.2 and 4.2.4) and the bits in them."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

MAGIC: Final = 0x7472_6976
"""MagicValue: "virt" in little-endian ASCII."""
VENDOR: Final = 0x6D6D_7661
"""VendorID: "avmm" in little-endian ASCII."""
CONFIG: Final = 0x100
"""Where the device's configuration space begins."""


class Register(IntEnum):
    """Byte offsets of the 32-bit registers; those of the legacy interface alone (4.2.4) say so."""

    MAGIC_VALUE = 0x000
    VERSION = 0x004
    DEVICE_ID = 0x008
    VENDOR_ID = 0x00C
    DEVICE_FEATURES = 0x010
    DEVICE_FEATURES_SEL = 0x014
    DRIVER_FEATURES = 0x020
    DRIVER_FEATURES_SEL = 0x024
    GUEST_PAGE_SIZE = 0x028
    """Legacy: bytes in the page that QueuePFN counts."""
    QUEUE_SEL = 0x030
    QUEUE_NUM_MAX = 0x034
    QUEUE_NUM = 0x038
    QUEUE_ALIGN = 0x03C
    """Legacy: alignment of the used ring, in bytes."""
    QUEUE_PFN = 0x040
    """Legacy: the page where the queue begins."""
    QUEUE_READY = 0x044
    QUEUE_NOTIFY = 0x050
    INTERRUPT_STATUS = 0x060
    INTERRUPT_ACK = 0x064
    STATUS = 0x070
    QUEUE_DESC_LOW = 0x080
    QUEUE_DESC_HIGH = 0x084
    QUEUE_DRIVER_LOW = 0x090
    QUEUE_DRIVER_HIGH = 0x094
    QUEUE_DEVICE_LOW = 0x0A0
    QUEUE_DEVICE_HIGH = 0x0A4
    SHM_SEL = 0x0AC
    SHM_LEN_LOW = 0x0B0
    SHM_LEN_HIGH = 0x0B4
    SHM_BASE_LOW = 0x0B8
    SHM_BASE_HIGH = 0x0BC
    QUEUE_RESET = 0x0C0
    CONFIG_GENERATION = 0x0FC


class Status(IntFlag):
    """Device status (2.1)."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    NEEDS_RESET = 64
    FAILED = 128


class Interrupt(IntFlag):
    """InterruptStatus (4.2.2)."""

    USED_BUFFER = 1
    CONFIG_CHANGE = 2


F_INDIRECT_DESC: Final = 1 << 28
F_EVENT_IDX: Final = 1 << 29
F_VERSION_1: Final = 1 << 32
F_RING_RESET: Final = 1 << 40
"""Features that belong to the queues and the transport, not to the device (6), as bits."""
