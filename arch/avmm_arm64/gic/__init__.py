"""The GICv3 and GICv2 interrupt controllers (Arm IHI 0069, IHI 0048): register models, without engine and without asyncio."""

from avmm_arm64.gic.cpu_interface import CpuInterface
from avmm_arm64.gic.gicv2 import BankedTraps, GicV2
from avmm_arm64.gic.gicv3 import Gic

__all__ = ["BankedTraps", "CpuInterface", "Gic", "GicV2"]
