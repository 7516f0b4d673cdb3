"""Where a GICv3 of KVM's interface is in guest physical address space: what may be chosen, and in which order it is refused."""

from __future__ import annotations

from errno import E2BIG, EEXIST, EINVAL, ENXIO

from avmm.plugin import OperationRefused
from avmm_arm64.gic.redistributor import FRAME_SIZE

_PAGE = 0x1_0000
_DISTRIBUTOR_SIZE = 0x1_0000
_ADDRESS_BITS = 40


class GicPlaces:
    """The addresses of the distributor (`dist`) and of the redistributors (`redist`), each set once.

    The redistributors take as much space as there are vCPUs, so what fits depends on when it is asked.
    """

    def __init__(self) -> None:
        self._distributor: int | None = None
        self._redistributors: int | None = None

    def set(self, which: str, address: int, vcpus: int) -> None:
        """KVM_DEV_ARM_VGIC_GRP_ADDR, with so many vCPUs made already."""
        if which == "dist":
            self._set_distributor(address)
        else:
            self._set_redistributors(address, vcpus)

    def _set_distributor(self, address: int) -> None:
        if self._distributor is not None:
            raise OperationRefused(EEXIST, f"dist is at {self._distributor:#x} already")
        _check_place(address, _DISTRIBUTOR_SIZE)
        self._distributor = address

    def _set_redistributors(self, address: int, vcpus: int) -> None:
        if self._redistributors is not None:
            raise OperationRefused(EEXIST, f"redist is at {self._redistributors:#x} already")
        end, distributor = address + vcpus * FRAME_SIZE, self._distributor
        if distributor is not None and distributor < end and address < distributor + _DISTRIBUTOR_SIZE:
            raise OperationRefused(EINVAL, f"redist {address:#x} overlaps the distributor at {distributor:#x}")
        _check_place(address, vcpus * FRAME_SIZE)
        self._redistributors = address

    def check_vcpus(self, vcpus: int) -> None:
        """The redistributors of `vcpus` vCPUs must fit where they are; OperationRefused (EINVAL)."""
        if self._redistributors is not None and not self._good(vcpus):
            raise OperationRefused(EINVAL, f"no room for {vcpus} redistributors at {self._redistributors:#x}")

    def check_complete(self, vcpus: int) -> tuple[int, int]:
        """Distributor and redistributors, before the first run; OperationRefused when that cannot be."""
        if self._redistributors is None:
            raise OperationRefused(ENXIO, "redist has no address")
        if self._distributor is None:
            raise OperationRefused(ENXIO, "dist has no address")
        if not self._good(vcpus):
            raise OperationRefused(EINVAL, f"dist {self._distributor:#x} and redist {self._redistributors:#x} overlap")
        return self._distributor, self._redistributors

    def _good(self, vcpus: int) -> bool:
        first, distributor = self._redistributors, self._distributor
        assert first is not None
        end = first + vcpus * FRAME_SIZE
        if end > 1 << _ADDRESS_BITS:
            return False
        return distributor is None or end <= distributor or distributor + _DISTRIBUTOR_SIZE <= first


def _check_place(address: int, size: int) -> None:
    if address % _PAGE:
        raise OperationRefused(EINVAL, f"{address:#x} is not a multiple of {_PAGE:#x}")
    if not 0 <= address < (1 << 64) - size:
        raise OperationRefused(EINVAL, f"{address:#x} is at the end of what can be addressed")
    if address >= 1 << _ADDRESS_BITS or address + size > 1 << _ADDRESS_BITS:
        raise OperationRefused(E2BIG, f"{address:#x} is beyond the guest's {_ADDRESS_BITS} bits of physical address")
