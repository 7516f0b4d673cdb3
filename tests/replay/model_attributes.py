"""The attributes of a model of KVM's vCPUs, and who owns which interrupt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Answer = dict[str, object]
OK: Answer = {"ret": 0}
RAM, HOST_PMU = 0x4000_0000, 8


def error(errno: str) -> Answer:
    return {"ret": -1, "errno": errno}


def ppi(number: int) -> bool:
    return 16 <= number <= 31


@dataclass
class VcpuModel:
    """A vCPU: where it is in its program, and what its user has told it."""

    index: int
    ppis: list[int] = field(default_factory=lambda: [27, 30])
    initialized: bool = False
    ran: bool = False
    stopped: bool = False
    in_run: str = ""
    """How a run that does not end goes on: S or R."""
    pc: int = 0
    base: int = 0
    count: int = 0
    mmio: bool = False
    reason: str = "UNKNOWN"
    immediate_exit: int = 0
    irq: int | None = None
    created: bool = False
    stolen_time: int = 2**64 - 1


class AttributesModel:
    """What the attributes of all vCPUs of a VM share."""

    def __init__(self) -> None:
        self.vcpus: dict[int, VcpuModel] = {}
        self.features: frozenset[str] | None = None
        self.vgic = self.initialized = self.ready = self.dead = self.memory = False
        self.spis, self.places = 0, dict.fromkeys(("dist", "redist"), -1)
        self.table = [27, 30, 28, 26]
        self.immutable = self.has_run = False
        self.owners: dict[tuple[int, int], object] = {}

    def has_attr(self, group: int, attr: int, **_: object) -> Answer:
        known = {0: range(4) if self.pmu() else (), 1: range(4), 2: range(1)}.get(group, ())
        return OK if attr in known else error("ENXIO")

    def pmu(self) -> bool:
        return self.features is not None and "pmu_v3" in self.features

    def get_attr(self, vcpu: VcpuModel, group: int, attr: int, addr: str = "", **_: object) -> Answer:
        value: int | None = None
        if group == 1 and attr < 4:
            value = vcpu.ppis[attr] if attr < 2 else self.table[attr]
        elif group == 0 and attr == 0:
            if not self.vgic:
                return error("EINVAL")
            if not self.pmu():
                return error("ENODEV")
            value = vcpu.irq
        elif group == 2 and attr == 0:
            value = vcpu.stolen_time
        if value is None:
            return error("ENXIO")
        return error("EFAULT") if addr else {"ret": 0, "value": value}

    def set_attr(
        self,
        vcpu: VcpuModel,
        group: int,
        attr: int,
        value: int = 0,
        addr: str = "",
        filter: Sequence[int] = (0, 1, 0),
        **_: object,
    ) -> Answer:
        if group == 1:
            return self._set_timer(attr, value, addr)
        if group == 0:
            return self._set_pmu(vcpu, attr, value, addr, filter)
        if group == 2 and attr == 0:
            return self._set_stolen_time(vcpu, value, addr)
        return error("ENXIO")

    def _set_stolen_time(self, vcpu: VcpuModel, value: int, addr: str) -> Answer:
        if addr:
            return error("EFAULT")
        if value & 63:
            return error("EINVAL")
        if vcpu.stolen_time != 2**64 - 1:
            return error("EEXIST")
        if not self.memory or value != RAM:
            return error("EINVAL")
        vcpu.stolen_time = value
        return OK

    def _set_timer(self, attr: int, value: int, addr: str) -> Answer:
        if not self.vgic:
            return error("EINVAL")
        if addr:
            return error("EFAULT")
        if not ppi(value):
            return error("EINVAL")
        if self.immutable:
            return error("EBUSY")
        if attr > 3:
            return error("ENXIO")
        self.table[attr] = value
        for one in self.vcpus.values():  # the document: all there are, and later ones have the defaults
            one.ppis = self.table[:2]
        return OK

    def _set_pmu(self, vcpu: VcpuModel, attr: int, value: int, addr: str, filter: Sequence[int]) -> Answer:
        if not self.pmu():
            return error("ENODEV")
        if vcpu.created:
            return error("EBUSY")
        if attr == 1:
            return self._init_pmu(vcpu)
        if attr in (2, 3):
            return self._choose_events(attr, value, addr, filter)
        if attr != 0:
            return error("ENXIO")
        if not self.vgic:
            return error("EINVAL")
        if addr:
            return error("EFAULT")
        if not 16 <= value <= 1019:
            return error("EINVAL")
        if vcpu.irq is not None:  # the document: before the look at the others
            return error("EBUSY")
        others = [one.irq for one in self.vcpus.values() if one.irq is not None]
        if any(value != other if ppi(value) else ppi(other) or value == other for other in others):
            return error("EINVAL")
        vcpu.irq = value
        return OK

    def _choose_events(self, attr: int, value: int, addr: str, chosen: Sequence[int]) -> Answer:
        if addr:
            return error("EFAULT")
        if attr == 2 and (chosen[0] + chosen[1] > 0x1_0000 or chosen[2] > 1):
            return error("EINVAL")
        if attr == 3 and value != HOST_PMU:
            return error("ENXIO")
        return error("EBUSY") if self.has_run else OK

    def _init_pmu(self, vcpu: VcpuModel) -> Answer:
        if self.vgic:
            if not self.initialized:
                return error("ENODEV")
            if vcpu.irq is None:
                return error("ENXIO")
            if not ppi(vcpu.irq) and vcpu.irq >= self.spis + 32:
                return error("EINVAL")
            if not self.own(vcpu, vcpu.irq, "pmu"):
                return error("EEXIST")
        vcpu.created = True
        return OK

    def own(self, vcpu: VcpuModel, intid: int, owner: str) -> bool:
        key = vcpu.index if ppi(intid) else -1, intid
        return self.owners.setdefault(key, (owner, vcpu.index)) == (owner, vcpu.index)
