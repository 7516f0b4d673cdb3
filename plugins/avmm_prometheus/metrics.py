"""The metrics by name: what each is, and where its value is read. Nothing here is called but by a scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from avmm.plugin import ExitReason, FigureKind, FigureValue, KickAction, ObservedVm, Vcpu

VM_STATES = ("init", "running", "paused", "reset", "halted")
NS_PER_S = 1_000_000_000

Samples = Iterable[tuple[tuple[str, ...], FigureValue]]
"""Values, each with the values of the metric's own labels."""
Subject = TypeVar("Subject", contravariant=True)


@dataclass(frozen=True, slots=True)
class Metric(Generic[Subject]):
    """One metric. `name` is whole but for the `_total` of a counter; `labels` come behind those of what it is about."""

    name: str
    kind: FigureKind
    help: str
    read: Callable[[Subject], Samples]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VcpuOf:
    """A vCPU and its VM."""

    vm: ObservedVm
    vcpu: Vcpu


def _one(read: Callable[[Subject], FigureValue]) -> Callable[[Subject], Samples]:
    """A metric without labels of its own."""
    return lambda subject: (((), read(subject)),)


def _by_enum(enum: type[IntEnum], read: Callable[[VcpuOf], list[int]]) -> Callable[[VcpuOf], Samples]:
    """A list of counters with one for each member of `enum`."""
    labels = [(member.name.lower(),) for member in enum]
    return lambda of: zip(labels, read(of), strict=True)


def _by_request(read: Callable[[VcpuOf], dict[int, int]]) -> Callable[[VcpuOf], Samples]:
    """Counters by request number. Every request that has a name is there, made or not."""

    def samples(of: VcpuOf) -> Samples:
        counts = read(of).copy()  # one step, while its owner may add to it
        for number, name in of.vm.request_names.items():
            yield (name.lower(),), counts.pop(number, 0)
        for number, count in counts.items():
            yield (str(number),), count

    return samples


def _times(of: VcpuOf) -> Samples:
    stats, now_ns = of.vcpu.stats, of.vm.clock.now_ns()
    # No call between these reads, as there is none between the writes: what belongs together is seen together.
    guest_ns, entered_ns = stats.guest_ns, stats.entered_ns
    blocked_ns, slept_ns = stats.blocked_ns, stats.slept_ns
    started_ns, ended_ns = stats.started_ns, stats.ended_ns
    if ended_ns >= 0:
        now_ns = ended_ns
    if entered_ns >= 0:
        guest_ns += max(0, now_ns - entered_ns)  # it may have entered since we read the clock
    if slept_ns >= 0:
        blocked_ns += max(0, now_ns - slept_ns)
    yield ("guest",), guest_ns / NS_PER_S
    yield ("blocked",), blocked_ns / NS_PER_S
    yield ("host",), (max(0, now_ns - started_ns - guest_ns - blocked_ns) if started_ns >= 0 else 0) / NS_PER_S


def _state(vm: ObservedVm) -> Samples:
    state = vm.state()
    return (((name,), int(name == state)) for name in VM_STATES)


_COUNTER, _GAUGE, _HISTOGRAM = FigureKind.COUNTER, FigureKind.GAUGE, FigureKind.HISTOGRAM

VM_METRICS: tuple[Metric[ObservedVm], ...] = (
    Metric("avmm_vm_state", _GAUGE, "1 for the state the VM is in, 0 for the others.", _state, ("state",)),
    Metric("avmm_vm_vcpus", _GAUGE, "vCPUs of the VM.", _one(lambda vm: len(vm.vcpus))),
    Metric("avmm_vm_slots", _GAUGE, "Slots: how many vCPUs may be in guest mode at once.", _one(lambda vm: len(vm.slots))),
    Metric(
        "avmm_vm_slot_switches",
        _COUNTER,
        "Times a slot went from one vCPU to another that waited for it.",
        _one(lambda vm: sum(slot.switches for slot in vm.slots)),
    ),
    Metric(
        "avmm_vm_guest_faults",
        _COUNTER,
        "Odd things the guest did, by kind. A kind is there once it has happened.",
        lambda vm: (((kind,), count) for kind, count in dict(vm.guest_faults).items()),
        ("kind",),
    ),
    Metric(
        "avmm_bus_reads",
        _COUNTER,
        "Register reads that reached the device.",
        lambda vm: (((region.name,), region.reads) for region in vm.bus),
        ("device",),
    ),
    Metric(
        "avmm_bus_writes",
        _COUNTER,
        "Register writes that reached the device.",
        lambda vm: (((region.name,), region.writes) for region in vm.bus),
        ("device",),
    ),
    Metric("avmm_bus_unclaimed", _COUNTER, "Accesses that no device claimed.", _one(lambda vm: vm.bus.unclaimed)),
    Metric(
        "avmm_device_faults",
        _COUNTER,
        "Times the device raised.",
        lambda vm: (((region.name,), region.faults) for region in vm.bus),
        ("device",),
    ),
    Metric(
        "avmm_device_quarantined",
        _GAUGE,
        "1 when the device was taken out because it raised, else 0.",
        lambda vm: (((region.name,), int(region.quarantined)) for region in vm.bus),
        ("device",),
    ),
)
"""One VM's. Label `vm` comes first."""

VCPU_METRICS: tuple[Metric[VcpuOf], ...] = (
    Metric(
        "avmm_vcpu_exits",
        _COUNTER,
        "Exits from guest mode, and traps handled in place, by reason.",
        _by_enum(ExitReason, lambda of: of.vcpu.stats.exits_by_reason),
        ("reason",),
    ),
    Metric(
        "avmm_vcpu_entries",
        _COUNTER,
        "Entries into guest mode that have ended.",
        _one(lambda of: of.vcpu.stats.exits),
    ),
    Metric(
        "avmm_vcpu_aborted_entries",
        _COUNTER,
        "Entries given up at the last look at the requests.",
        _one(lambda of: of.vcpu.stats.aborted_entries),
    ),
    Metric(
        "avmm_vcpu_requests_made",
        _COUNTER,
        "Requests made of the vCPU.",
        _by_request(lambda of: of.vcpu.stats.requests_made),
        ("request",),
    ),
    Metric(
        "avmm_vcpu_requests_handled",
        _COUNTER,
        "Requests the vCPU handled. Several made before it looked are handled as one.",
        _by_request(lambda of: of.vcpu.stats.requests_handled),
        ("request",),
    ),
    Metric(
        "avmm_vcpu_kicks",
        _COUNTER,
        "Kicks of the vCPU, by what they came to.",
        _by_enum(KickAction, lambda of: of.vcpu.stats.kicks),
        ("action",),
    ),
    Metric(
        "avmm_vcpu_ipis_acknowledged",
        _COUNTER,
        "IPIs whose sender waited for the acknowledgement, and got it.",
        _one(lambda of: of.vcpu.stats.ipis_acknowledged),
    ),
    Metric("avmm_vcpu_halts", _COUNTER, "Times the guest waited for an interrupt.", _one(lambda of: of.vcpu.stats.halts)),
    Metric(
        "avmm_vcpu_halt_polls",
        _COUNTER,
        "Halts that began with polling.",
        _one(lambda of: of.vcpu.stats.halt_attempted_poll),
    ),
    Metric(
        "avmm_vcpu_halt_polls_successful",
        _COUNTER,
        "Halts that ended while polling, without a sleep.",
        _one(lambda of: of.vcpu.stats.halt_successful_poll),
    ),
    Metric("avmm_vcpu_wakeups", _COUNTER, "Times the sleeping vCPU was woken.", _one(lambda of: of.vcpu.stats.wakeups)),
    Metric(
        "avmm_vcpu_spurious_wakeups",
        _COUNTER,
        "Times the woken vCPU found nothing to do and went back to sleep.",
        _one(lambda of: of.vcpu.stats.spurious_wakeups),
    ),
    Metric(
        "avmm_vcpu_guest_instructions",
        _COUNTER,
        "Guest instructions executed while counting them was on.",
        _one(lambda of: of.vcpu.engine.instructions),
    ),
    Metric(
        "avmm_vcpu_seconds",
        _COUNTER,
        "Time of the VM's clock in guest mode, blocked (asleep: halted, paused or off), and on the host: all the rest.",
        _times,
        ("state",),
    ),
    Metric(
        "avmm_vcpu_kick_to_exit_seconds",
        _HISTOGRAM,
        "From sending an IPI to the vCPU being outside guest mode.",
        _one(lambda of: of.vcpu.stats.kick_to_exit),
    ),
    Metric(
        "avmm_vcpu_halt_wait_seconds",
        _HISTOGRAM,
        "From a halt to its end, for halts that slept.",
        _one(lambda of: of.vcpu.stats.halt_wait),
    ),
)
"""One vCPU's. Labels `vm` and `vcpu` come first."""
