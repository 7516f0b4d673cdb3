"""The Arm PrimeCell general purpose input/output controller (PL061), and the power button on it."""

from avmm_gpio.device import Pl061Device, create_device
from avmm_gpio.pl061 import Pl061

__all__ = ["Pl061", "Pl061Device", "create_device"]
