"""The Arm PrimeCell real time clock (PL031) of avmm's arm64 machine."""

from avmm_rtc.device import Pl031Device, create_device
from avmm_rtc.pl031 import Pl031

__all__ = ["Pl031", "Pl031Device", "create_device"]
