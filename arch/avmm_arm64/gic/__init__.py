"""The GICv3 interrupt controller (Arm IHI 0069): pure register models, without engine and without asyncio."""

from avmm_arm64.gic.cpu_interface import CpuInterface
from avmm_arm64.gic.gicv3 import Gic

__all__ = ["CpuInterface", "Gic"]
