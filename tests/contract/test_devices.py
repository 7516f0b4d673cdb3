"""Our own devices keep the contract of devices."""

from __future__ import annotations

from dataclasses import replace

import avmm_firmware
import avmm_gpio
import avmm_rtc
import avmm_uart
import avmm_virtio
from avmm.plugin import Device, DeviceOptions
from avmm.testing.contract import DeviceContract


class TestPl011(DeviceContract):
    """The UART."""

    def make_device(self, options: DeviceOptions) -> Device:
        return avmm_uart.create_device(options)


class TestPl031(DeviceContract):
    """The real-time clock."""

    volatile = (0x00,)  # RTCDR

    def make_device(self, options: DeviceOptions) -> Device:
        return avmm_rtc.create_device(options)


class TestPl061(DeviceContract):
    """The GPIO controller."""

    def make_device(self, options: DeviceOptions) -> Device:
        return avmm_gpio.create_device(options)


class TestVirtioConsole(DeviceContract):
    """The virtio console."""

    def make_device(self, options: DeviceOptions) -> Device:
        return avmm_virtio.create_console(replace(options, options={"testdev": True}))


class TestCode(DeviceContract):
    """A flash that the guest cannot change; small, so that every offset is tried."""

    def make_device(self, options: DeviceOptions) -> Device:
        rom = options.make_rom(0x4000)
        return avmm_firmware.FlashDevice(rom, None, read_only=True, sector_size=0x1000)


class TestVariables(DeviceContract):
    """A flash that the guest can change, which a reset does not undo."""

    volatile = range(0x4000)

    def make_device(self, options: DeviceOptions) -> Device:
        rom = options.make_rom(0x4000)
        return avmm_firmware.FlashDevice(rom, None, read_only=False, sector_size=0x1000)


class TestFwCfg(DeviceContract):
    """What firmware is told."""

    def make_device(self, options: DeviceOptions) -> Device:
        return avmm_firmware.create_fw_cfg(replace(options, options={"append": "console=ttyAMA0"}))
