"""The arm64 architecture: a machine in the shape of QEMU's `virt`."""

from avmm.plugin import ArchOptions, VmServices
from avmm_arm64.arch import Arm64

__all__ = ["Arm64", "create_arch"]


def create_arch(vm: VmServices, options: ArchOptions) -> Arm64:
    """The factory of the entry point `arm64`."""
    return Arm64(vm, options)
