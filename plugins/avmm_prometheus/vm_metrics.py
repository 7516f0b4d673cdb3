"""The metrics of a VM: what it is, how it fares, and what its vCPUs measured, as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from avmm.plugin import ExitReason, FigureValue, Histogram, Region, VcpuStats
from avmm_prometheus.histogram import Merged, merge
from avmm_prometheus.metric import COUNTER, GAUGE, HISTOGRAM, NS_PER_S, Labels, VmMetric, Watched, request_label

STATES = ("init", "running", "paused", "reset", "halted")
INFO = ("arch", "engine", "cpu", "irqchip", "clock", "slot", "affinity")
"""The words of a machine's description that say what kind of machine it is."""

Samples = Iterable[tuple[Labels, FigureValue | Merged]]


def _one(read: Callable[[Watched], FigureValue | Merged]) -> Callable[[Watched], Samples]:
    """A metric without labels of its own."""
    return lambda of: (((), read(of)),)


def _devices(read: Callable[[Region], FigureValue]) -> Callable[[Watched], Samples]:
    return lambda of: [((region.name,), read(region)) for region in of.vm.bus]


def _lines(read: Callable[[Region], FigureValue]) -> Callable[[Watched], Samples]:
    """Of the devices that have an interrupt line."""
    return lambda of: [((region.name,), read(region)) for region in of.vm.bus if region.irq is not None]


def _merged(read: Callable[[VcpuStats], Histogram]) -> Callable[[Watched], Samples]:
    return _one(lambda of: merge([(vcpu.index, read(vcpu.stats)) for vcpu in of.vm.vcpus]))


def _merged_by(
    read: Callable[[VcpuStats], dict[int, Histogram]], label: Callable[[Watched, int], str]
) -> Callable[[Watched], Samples]:
    """Histograms by number. One is there once something was counted in it."""

    def samples(of: Watched) -> Samples:
        found: dict[str, list[tuple[int, Histogram]]] = {}
        for vcpu in of.vm.vcpus:
            for number, histogram in tuple(read(vcpu.stats).items()):  # in one step, while its owner may add to it
                found.setdefault(label(of, number), []).append((vcpu.index, histogram))
        return [((name,), merge(histograms)) for name, histograms in found.items()]

    return samples


def _info(of: Watched) -> Samples:
    return ((tuple(str(getattr(of.vm.config, word)) for word in INFO), 1),)


def _state(of: Watched) -> Samples:
    state = of.vm.state()
    return [((name,), int(name == state)) for name in STATES]


def _faults(of: Watched) -> Samples:
    faults: Mapping[str, int] = dict(of.vm.guest_faults)
    return [((kind,), count) for kind, count in faults.items()]


def _vm_s(of: Watched) -> float:
    return max(0, of.vm.clock.now_ns() - of.since_vm_ns) / NS_PER_S


def _host_s(of: Watched) -> float:
    return max(0, time.monotonic_ns() - of.since_host_ns) / NS_PER_S


def _ratio(of: Watched) -> float:
    host_s = _host_s(of)
    return _vm_s(of) / host_s if host_s else 1.0


VM_METRICS: tuple[VmMetric, ...] = (
    VmMetric("avmm_vm_info", GAUGE, "What the VM is, in the words of its description; always 1.", _info, INFO),
    VmMetric("avmm_vm_state", GAUGE, "1 for the state the VM is in, 0 for the others.", _state, ("state",)),
    VmMetric("avmm_vm_vcpus", GAUGE, "vCPUs of the VM.", _one(lambda of: len(of.vm.vcpus))),
    VmMetric("avmm_vm_memory_bytes", GAUGE, "Guest memory.", _one(lambda of: of.vm.config.memory_bytes)),
    VmMetric("avmm_vm_clock_seconds", COUNTER, "Time of the VM's clock since it has been watched.", _one(_vm_s)),
    VmMetric("avmm_vm_host_seconds", COUNTER, "Time of the host's clock since the VM has been watched.", _one(_host_s)),
    VmMetric("avmm_vm_clock_ratio", GAUGE, "The VM's time to the host's since the VM has been watched.", _one(_ratio)),
    VmMetric("avmm_vm_slots", GAUGE, "Slots: how many vCPUs may be in guest mode at once.", _one(lambda of: len(of.vm.slots))),
    VmMetric(
        "avmm_vm_slots_taken",
        GAUGE,
        "Slots that a vCPU has at the moment.",
        _one(lambda of: sum(slot.vcpu is not None for slot in of.vm.slots)),
    ),
    VmMetric(
        "avmm_vm_slot_waiters",
        GAUGE,
        "vCPUs that wait for a slot at the moment.",
        _one(lambda of: sum(slot.waiting for slot in of.vm.slots)),
    ),
    VmMetric(
        "avmm_vm_slot_switches",
        COUNTER,
        "Times a slot went from one vCPU to another that waited for it.",
        _one(lambda of: sum(slot.switches for slot in of.vm.slots)),
    ),
    VmMetric(
        "avmm_vm_guest_faults",
        COUNTER,
        "Odd things the guest did, by kind. A kind is there once it has happened.",
        _faults,
        ("kind",),
    ),
    VmMetric(
        "avmm_vm_remote_tlb_flush_requests",
        COUNTER,
        "Times all vCPUs were asked to forget their translations.",
        _one(lambda of: of.vm.remote_tlb_flush_requests),
    ),
    VmMetric(
        "avmm_vm_remote_tlb_flushes",
        COUNTER,
        "Times that took an IPI.",
        _one(lambda of: of.vm.remote_tlb_flush),
    ),
    VmMetric(
        "avmm_vm_request_latency_seconds",
        HISTOGRAM,
        "From making a request to the vCPU taking it up, of ten at most a second, vCPU and request.",
        _merged_by(lambda stats: stats.request_latency, lambda of, number: request_label(of.vm.request_names, number)),
        ("request",),
    ),
    VmMetric(
        "avmm_vm_request_wait_seconds",
        HISTOGRAM,
        "How long the requester of a request with WAIT waited for each vCPU that it sent an IPI to.",
        _merged(lambda stats: stats.request_wait),
    ),
    VmMetric(
        "avmm_vm_kick_to_exit_seconds",
        HISTOGRAM,
        "From sending an IPI to the vCPU being outside guest mode.",
        _merged(lambda stats: stats.kick_to_exit),
    ),
    VmMetric(
        "avmm_vm_exit_handling_seconds",
        HISTOGRAM,
        "From leaving guest mode to entering it again without the time asleep, by the reason of the exit.",
        _merged_by(lambda stats: stats.exit_handling, lambda of, reason: ExitReason(reason).name.lower()),
        ("reason",),
    ),
    VmMetric(
        "avmm_vm_halt_wait_seconds",
        HISTOGRAM,
        "From a halt to its end, for halts that slept.",
        _merged(lambda stats: stats.halt_wait),
    ),
    VmMetric(
        "avmm_loop_lag_seconds",
        HISTOGRAM,
        "How late the VM's event loop made a call, tried ten times a second.",
        _one(lambda of: of.loop_lag),
    ),
    VmMetric(
        "avmm_irq_raises",
        COUNTER,
        "Times the device's interrupt line went high.",
        _lines(lambda region: region.irq.raised if region.irq is not None else 0),
        ("device",),
    ),
    VmMetric(
        "avmm_irq_level",
        GAUGE,
        "1 while the device's interrupt line is high, else 0.",
        _lines(lambda region: int(region.irq is not None and region.irq.level)),
        ("device",),
    ),
    VmMetric(
        "avmm_bus_reads", COUNTER, "Register reads that reached the device.", _devices(lambda region: region.reads), ("device",)
    ),
    VmMetric(
        "avmm_bus_writes",
        COUNTER,
        "Register writes that reached the device.",
        _devices(lambda region: region.writes),
        ("device",),
    ),
    VmMetric("avmm_bus_unclaimed", COUNTER, "Accesses that no device claimed.", _one(lambda of: of.vm.bus.unclaimed)),
    VmMetric("avmm_device_faults", COUNTER, "Times the device raised.", _devices(lambda region: region.faults), ("device",)),
    VmMetric(
        "avmm_device_quarantined",
        GAUGE,
        "1 when the device was taken out because it raised, else 0.",
        _devices(lambda region: int(region.quarantined)),
        ("device",),
    ),
)
