"""VMs in words and columns, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from avmm.plugin import VcpuMode, VcpuSnapshot
from avmm_control.models import VmDetails

NS_PER_S = 1_000_000_000
_MODES = {
    VcpuMode.OUTSIDE_GUEST_MODE.name: "outside",
    VcpuMode.IN_GUEST_MODE.name: "in guest",
    VcpuMode.EXITING_GUEST_MODE.name: "exiting",
    VcpuMode.READING_SHADOW_PAGE_TABLES.name: "reading",
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows below a head, in columns."""
    lines = [tuple(head), *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def details(vm: VmDetails, address: str) -> str:
    """A VM, whole."""
    now = vm.snapshot
    ran_s = (now.time_ns - now.started_ns) / NS_PER_S if now.started_ns >= 0 else 0.0
    head = [
        f"{vm.name}: {vm.state}, process {vm.pid}, {address}",
        f"{vm.arch} {vm.cpu} on {vm.engine}, {vm.vcpus} vCPUs, {vm.memory_bytes >> 20} MiB, {vm.kernel or 'no kernel'}",
        f"{ran_s:.3f} s since its start",
        "",
    ]
    vcpus = [
        (
            vcpu.index,
            doing(vcpu),
            f"{vcpu.guest_ns / NS_PER_S:.3f}",
            f"{vcpu.blocked_ns / NS_PER_S:.3f}",
            vcpu.exits,
            vcpu.wakeups,
            sum(vcpu.kicks.values()),
            ",".join(vcpu.pending),
        )
        for vcpu in now.vcpus
    ]
    devices = [
        (one.name, hex(one.address), one.reads, one.writes, "quarantined" if one.quarantined else "") for one in now.devices
    ]
    parts = [
        *head,
        table(("VCPU", "DOES", "GUEST S", "ASLEEP S", "EXITS", "WAKEUPS", "KICKS", "PENDING"), vcpus),
        "",
        table(("DEVICE", "ADDRESS", "READS", "WRITES", ""), devices),
    ]
    if now.guest_faults:
        parts += ["", table(("GUEST FAULT", "TIMES"), now.guest_faults.items())]
    return "\n".join(parts)


def doing(vcpu: VcpuSnapshot) -> str:
    """What a vCPU does, in a word or two."""
    if vcpu.powered_off:
        return "off"
    return "asleep" if vcpu.asleep else _MODES[vcpu.mode]
