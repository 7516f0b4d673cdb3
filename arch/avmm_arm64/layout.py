"""Where things are: the guest physical memory map and interrupt numbers of QEMU's `virt` machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from avmm.plugin import ConfigError, DevicePlace, Firmware
from avmm_arm64.intid import SPI_COUNT

GICD_BASE: Final = 0x0800_0000
GICC_BASE: Final = 0x0801_0000
GICR_BASE: Final = 0x080A_0000
FLASH_BASE: Final = 0x0000_0000
"""Where the vCPU starts that has firmware."""
FLASH_SIZE: Final = 0x0400_0000
"""Of each of two banks: the firmware itself, and its variables."""
UART_BASE: Final = 0x0900_0000
UART_SPI: Final = 1
RTC_BASE: Final = 0x0901_0000
RTC_SPI: Final = 2
FW_CFG_BASE: Final = 0x0902_0000
GPIO_BASE: Final = 0x0903_0000
GPIO_SPI: Final = 7
VIRTIO_BASE: Final = 0x0A00_0000
VIRTIO_STRIDE: Final = 0x200
VIRTIO_FIRST_SPI: Final = 16
VIRTIO_COUNT: Final = 32
PLATFORM_BASE: Final = 0x0C00_0000
"""Devices of any other kind."""
PLATFORM_STRIDE: Final = 0x1_0000
PLATFORM_FIRST_SPI: Final = 112
PLATFORM_COUNT: Final = 64
RAM_BASE: Final = 0x4000_0000
MAX_RAM: Final = 8 << 30
MAX_VCPUS: Final = 64

COUNTER_HZ: Final = 62_500_000
"""CNTFRQ_EL0."""
UART_CLOCK_HZ: Final = 24_000_000


def affinity(index: int) -> int:
    """Aff3.Aff2.Aff1.Aff0 of vCPU `index`, in 32 bits: clusters of 16, as ICC_SGI1R_EL1's target list reaches them."""
    return (index >> 12 & 0xFF) << 16 | (index >> 4 & 0xFF) << 8 | index & 0xF


class Places:
    """Which device sits where, and which shared interrupts are taken."""

    def __init__(self, ram_bytes: int, vcpus: int = 1, firmware: Firmware | None = None) -> None:
        self._vcpus, self._firmware = vcpus, firmware
        self._ram_end = RAM_BASE + ram_bytes
        self._places: dict[str, DevicePlace] = {}

    def defaults(self) -> list[DevicePlace]:
        """The devices of a machine that is not told otherwise."""
        places = [DevicePlace("uart0", "pl011", UART_BASE, UART_SPI), DevicePlace("rtc0", "pl031", RTC_BASE, RTC_SPI)]
        if self._firmware is not None:
            places += _for_firmware(self._firmware, self._vcpus)
        self._places.update((place.name, place) for place in places)
        return places

    def choose(self, name: str, kind: str, address: int | None, irq: int | None) -> DevicePlace:
        """Fill in what is None; ConfigError where there is no room. A device takes the place of another of its name."""
        self._places.pop(name, None)
        if irq is not None and not 0 <= irq < SPI_COUNT:
            raise ConfigError(f"{irq} is not a shared interrupt: 0 to {SPI_COUNT - 1}", key=f"devices.{name}.irq")
        if address is not None and RAM_BASE <= address < self._ram_end:
            raise ConfigError(f"{address:#x} lies in memory ({RAM_BASE:#x}-{self._ram_end - 1:#x})", key=f"devices.{name}.base")
        taken = {place.irq: other for other, place in self._places.items() if place.irq is not None}
        if irq in taken:
            raise ConfigError(f"shared interrupt {irq} belongs to devices.{taken[irq]}", key=f"devices.{name}.irq")
        addresses = {place.address for place in self._places.values()}
        if address is None or irq is None:
            for free_address, free_irq in _candidates(kind):
                if (address is not None or free_address not in addresses) and (irq is not None or free_irq not in taken):
                    address = free_address if address is None else address
                    irq = free_irq if irq is None else irq
                    break
            else:
                raise ConfigError(f"no room for another {kind}: give it a base and an irq", key=f"devices.{name}")
        place = self._places[name] = DevicePlace(name, kind, address, irq)
        return place


def _for_firmware(firmware: Firmware, vcpus: int) -> list[DevicePlace]:
    """The flash that firmware is in and the flash for its variables, and where it learns what it is to boot."""
    code = {"file": firmware.image, "read_only": True}
    variables = {} if firmware.variables is None else {"file": firmware.variables}
    given = {"kernel": firmware.kernel, "initrd": firmware.initrd, "append": firmware.command_line, "vcpus": vcpus}
    return [
        DevicePlace("flash0", "cfi-flash", FLASH_BASE, None, options=code),
        DevicePlace("flash1", "cfi-flash", FLASH_BASE + FLASH_SIZE, None, options=variables),
        DevicePlace("fw_cfg", "fw-cfg", FW_CFG_BASE, None, options=given),
    ]


def _candidates(kind: str) -> Sequence[tuple[int, int | None]]:
    """Addresses and shared interrupts for a device of `kind`, the usual first; those of firmware have no interrupt."""
    if kind == "cfi-flash":
        return [(FLASH_BASE, None), (FLASH_BASE + FLASH_SIZE, None)]
    if kind == "fw-cfg":
        return [(FW_CFG_BASE, None)]
    platform = [(PLATFORM_BASE + n * PLATFORM_STRIDE, PLATFORM_FIRST_SPI + n) for n in range(PLATFORM_COUNT)]
    if kind == "pl011":
        return [(UART_BASE, UART_SPI), *platform]
    if kind == "pl031":
        return [(RTC_BASE, RTC_SPI), *platform]
    if kind == "pl061":
        return [(GPIO_BASE, GPIO_SPI), *platform]
    if kind.startswith("virtio"):
        return [(VIRTIO_BASE + n * VIRTIO_STRIDE, VIRTIO_FIRST_SPI + n) for n in range(VIRTIO_COUNT)]
    return platform
