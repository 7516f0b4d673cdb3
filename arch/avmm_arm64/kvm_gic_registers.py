"""The registers of a GICv3 as KVM's users read them (Linux, Documentation/virt/kvm/devices/arm-vgic-v3.rst)."""

from __future__ import annotations

from errno import ENXIO

from avmm.plugin import OperationRefused, Width
from avmm_arm64.gic.access import WORD
from avmm_arm64.gic.irq_state import IrqBank
from avmm_arm64.gic.redistributor import FRAME_SIZE
from avmm_arm64.intid import PRIVATE_COUNT, SGI_MASK
from avmm_arm64.kvm_gic_queue import QueueingGic

DIST_REGS, REDIST_REGS = 1, 5
"""KVM_DEV_ARM_VGIC_GRP_DIST_REGS and KVM_DEV_ARM_VGIC_GRP_REDIST_REGS."""

_DISTRIBUTOR_IIDR, _REDISTRIBUTOR_IIDR = 0x4B00_343B, 0x4B00_043B
"""Product 0x4b ("K"), implementer Arm; the distributor tells the revision, 3, as well."""
_REDISTRIBUTOR_CTLR = 1 << 2 | 1 << 1
"""IR and CES (IHI 0069 12.11, GICR_CTLR): LPIs can be invalidated directly, and disabled again."""
_PENDBASER = 3 << 7 | 1 << 10
"""What it is at first: inner shareable, read-allocate and write-back."""
_STATUS = 0xFFFF_FFFF
_NO_1_OF_N, _ENABLE_GROUP0 = 1 << 25, 1 << 0
_ISPENDR, _ICPENDR, _ISACTIVER = 0x200, 0x280, 0x300
_IDREGS, _FRAME = 0xFFD0, 0x1_0000


def begin(gic: QueueingGic) -> None:
    """What KVM's GIC begins with and ours does not: all interrupts in Group 1, SGIs enabled, shared ones edge-triggered."""
    for redistributor in gic.redistributors:
        redistributor.bank.group1 = (1 << PRIVATE_COUNT) - 1
        redistributor.bank.enabled = SGI_MASK
    spis = gic.distributor.spis
    spis.group1 = spis.edge = (1 << spis.count) - 1


def read(gic: QueueingGic, group: int, vcpu: int, offset: int) -> int:
    """The 32-bit register at `offset`; OperationRefused (ENXIO) where there is none.

    As KVM's users see it, an interrupt is pending only when it is latched; the level of its line is apart.
    """
    found = _distributor(gic, offset) if group == DIST_REGS else _redistributor(gic, vcpu, offset)
    if offset % 4 or found is None:
        raise OperationRefused(ENXIO, f"there is no register at {offset:#x} of group {group}")
    return found


def _distributor(gic: QueueingGic, offset: int) -> int | None:
    match offset:
        case 0x0000:  # GICD_CTLR
            return gic.distributor.read(offset, Width.W32) & ~_ENABLE_GROUP0
        case 0x0004:  # GICD_TYPER
            return gic.distributor.read(offset, Width.W32) & ~_NO_1_OF_N
        case 0x0008:  # GICD_IIDR
            return _DISTRIBUTOR_IIDR
        case 0x000C:  # GICD_TYPER2
            return 0
        case 0x0010:  # GICD_STATUSR
            return _STATUS
        case _:
            pass
    if _IDREGS <= offset < _FRAME:
        return gic.distributor.read(offset, Width.W32)
    intid, spis = _first_intid(offset), gic.distributor.spis
    if intid is None or intid >= PRIVATE_COUNT + spis.count:
        return None
    return _per_interrupt(gic, spis, offset, intid) if offset < 0xD00 else gic.distributor.read(offset, Width.W32)


def _redistributor(gic: QueueingGic, vcpu: int, offset: int) -> int | None:
    match offset:
        case 0x0000:
            return _REDISTRIBUTOR_CTLR
        case 0x0004:  # GICR_IIDR
            return _REDISTRIBUTOR_IIDR
        case 0x0078:  # GICR_PENDBASER
            return _PENDBASER
        case 0x0010 | 0x0014 | 0x0070 | 0x0074 | 0x007C:  # GICR_STATUSR, GICR_WAKER, GICR_PROPBASER, GICR_PENDBASER's upper half
            return 0
        case 0x00A0 | 0x00A4 | 0x00B0 | 0x00B4 | 0x00C0:  # GICR_INVLPIR, GICR_INVALLR, GICR_SYNCR
            return 0
        case _:
            pass
    if offset in (0x0008, 0x000C) or _IDREGS <= offset < _FRAME:
        return gic.region.read(vcpu * FRAME_SIZE + offset, Width.W32)
    private = offset - _FRAME
    if private in (0xD00, 0xE00):  # GICR_IGRPMODR0, GICR_NSACR
        return 0
    intid = _first_intid(private) if private < 0xD00 else None
    return None if intid is None or intid >= PRIVATE_COUNT else _per_interrupt(gic, gic.private_bank(vcpu), private, intid)


def _per_interrupt(gic: QueueingGic, bank: IrqBank, offset: int, intid: int) -> int:
    if _ISPENDR <= offset < _ICPENDR:
        latch = bank.latch | gic.overlooked_latch(bank)
        return latch >> intid - bank.first & WORD if intid >= bank.first else 0
    return 0 if _ICPENDR <= offset < _ISACTIVER else bank.read(offset)


def _first_intid(offset: int) -> int | None:
    """The first interrupt in the register at `offset`; None where no register has interrupts."""
    if 0x080 <= offset < 0x400 or 0xD00 <= offset < 0xD80:
        return (offset & 0x7F) * 8
    if 0x400 <= offset < 0xC00:  # IPRIORITYR, and ITARGETSR, which reads as zero
        return offset & 0x3FF
    if 0xC00 <= offset < 0xD00:
        return (offset & 0xFF) * 4
    return (offset - 0x6000) // 8 if 0x6000 <= offset < 0x8000 else None
