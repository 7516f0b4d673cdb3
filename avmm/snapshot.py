"""A VM at one moment, whole: what a page, a terminal view or a remote client shows. JSON comes out of it as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from avmm.exits import ExitReason
from avmm.instrument import KickAction, ObservedVm
from avmm.record import Record
from avmm.vcpu.vcpu import Vcpu
from avmm.view import CounterView, LineView, TimerView, VcpuView


class VcpuSnapshot(Record):
    """One vCPU. Everything counted is counted from the start of the VM, so that readers make their own rates."""

    index: int
    mode: str
    """As `VcpuMode` names it."""
    asleep: bool
    powered_off: bool
    guest_ns: int
    """Time in guest mode."""
    blocked_ns: int
    """Time asleep: halted, paused or powered off."""
    exits: int
    exits_by_reason: dict[str, int]
    """Exits and traps handled in place."""
    kicks: dict[str, int]
    """By what they came to: `nothing`, `wakeup`, `ipi`."""
    wakeups: int
    spurious_wakeups: int
    requests: dict[str, tuple[int, int]]
    """How often each request was made, and handled."""
    pending: list[str]
    """The requests that are pending now."""
    timers: tuple[TimerView, ...]
    lines: tuple[LineView, ...]
    counters: tuple[CounterView, ...]


class DeviceSnapshot(Record):
    """One device on the bus."""

    name: str
    address: int
    reads: int
    writes: int
    faults: int
    quarantined: bool


class VmSnapshot(Record):
    """A VM. Times are nanoseconds of its clock."""

    name: str
    state: str
    time_ns: int
    """Now."""
    started_ns: int
    """When its first vCPU began to run; negative before."""
    guest_faults: dict[str, int]
    """Odd things the guest did, by kind."""
    vcpus: tuple[VcpuSnapshot, ...]
    lines: tuple[LineView, ...]
    """Interrupt lines that belong to no single vCPU."""
    devices: tuple[DeviceSnapshot, ...]

    def to_json(self) -> bytes:
        """As one line of JSON. Numbers above 2**53 are exact there; a reader may have to mind them."""
        import json  # few machines are asked for it

        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()


def take_snapshot(vm: ObservedVm) -> VmSnapshot:
    """`vm` now. Any thread; each figure is right, if not all of the very same moment."""
    with vm.device_lock:  # no timer, line or counter is in the middle of a change
        views = [vcpu.arch.view() for vcpu in vm.vcpus]
        lines = vm.arch.lines()
        devices = tuple(
            DeviceSnapshot(region.name, region.address, region.reads, region.writes, region.faults, region.quarantined)
            for region in vm.bus
        )
    vcpus = tuple(_vcpu(vm, vcpu, view) for vcpu, view in zip(vm.vcpus, views, strict=True))
    started_ns = [vcpu.stats.started_ns for vcpu in vm.vcpus if vcpu.stats.started_ns >= 0]
    return VmSnapshot(
        vm.name,
        vm.state(),
        vm.clock.now_ns(),
        min(started_ns, default=-1),
        dict(vm.guest_faults),
        vcpus,
        lines,
        devices,
    )


def take_vcpu_snapshot(vm: ObservedVm, vcpu: Vcpu) -> VcpuSnapshot:
    """One vCPU of `vm` now. Any thread."""
    with vm.device_lock:
        view = vcpu.arch.view()
    return _vcpu(vm, vcpu, view)


def _vcpu(vm: ObservedVm, vcpu: Vcpu, view: VcpuView) -> VcpuSnapshot:
    stats, names = vcpu.stats, vm.request_names
    guest_ns, blocked_ns = stats.times_ns(vm.clock)
    return VcpuSnapshot(
        vcpu.index,
        vcpu.mode.name,
        vcpu.asleep,
        vcpu.powered_off,
        guest_ns,
        blocked_ns,
        stats.exits,
        {reason.name.lower(): stats.exits_by_reason[reason] for reason in ExitReason},
        {action.name.lower(): stats.kicks[action] for action in KickAction},
        stats.wakeups,
        stats.spurious_wakeups,
        _requests(vcpu, names),
        [name for number, name in names.items() if vcpu.requests >> number & 1],
        view.timers,
        view.lines,
        view.counters,
    )


def _requests(vcpu: Vcpu, names: Mapping[int, str]) -> dict[str, tuple[int, int]]:
    # A copy of a dict is made in one step; a walk over it is not.
    made, handled = vcpu.stats.requests_made.copy(), vcpu.stats.requests_handled.copy()
    return {
        names.get(number, str(number)): (made.get(number, 0), handled.get(number, 0))
        for number in sorted(made.keys() | handled.keys())
    }
