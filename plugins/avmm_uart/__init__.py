"""The Arm PrimeCell UART (PL011): the console of avmm's arm64 machine."""

from avmm_uart.device import Pl011Device, create_device
from avmm_uart.pl011 import Pl011

__all__ = ["Pl011", "Pl011Device", "create_device"]
