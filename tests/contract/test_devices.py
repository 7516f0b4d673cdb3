"""Our own devices keep the contract of devices."""

from __future__ import annotations

from dataclasses import replace

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


class TestVirtioConsole(DeviceContract):
    """The virtio console."""

    def make_device(self, options: DeviceOptions) -> Device:
        return avmm_virtio.create_console(replace(options, options={"testdev": True}))
