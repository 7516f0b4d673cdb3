"""The metrics of one vCPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

from avmm.plugin import ExitReason, KickAction, ObservedVm, Vcpu, VcpuStats
from avmm_prometheus.metric import COUNTER, GAUGE, HISTOGRAM, NS_PER_S, Labels, VcpuMetric, request_label

STATES = ("guest", "blocked", "host")


def times(vm: ObservedVm, vcpu: Vcpu) -> tuple[float, float, float]:
    """Seconds of the VM's clock in each of `STATES`, the entry or the sleep under way included."""
    stats, now_ns = vcpu.stats, vm.clock.now_ns()
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
    host_ns = max(0, now_ns - started_ns - guest_ns - blocked_ns) if started_ns >= 0 else 0
    return guest_ns / NS_PER_S, blocked_ns / NS_PER_S, host_ns / NS_PER_S


def oldest_wait_s(vm: ObservedVm, vcpu: Vcpu) -> float:
    """How long the requester has been waiting that waits longest, in seconds of the VM's clock."""
    since = [acks.since_ns for acks in tuple(vcpu.acks)]
    return max(0, vm.clock.now_ns() - min(since)) / NS_PER_S if since else 0.0


def _by_enum(enum: type[IntEnum]) -> Callable[[ObservedVm], Sequence[Labels]]:
    rows = tuple((member.name.lower(),) for member in enum)
    return lambda vm: rows


def _requests(vm: ObservedVm) -> Sequence[Labels]:
    """Every request that has a name, made or not, and one for all the others."""
    return *((request_label(vm.request_names, number),) for number in vm.request_names), ("other",)


def _by_request(read: Callable[[VcpuStats], dict[int, int]]) -> Callable[[ObservedVm, Vcpu], Sequence[int]]:
    def values(vm: ObservedVm, vcpu: Vcpu) -> Sequence[int]:
        counts = read(vcpu.stats).copy()  # one step, while its owner may add to it
        named = [counts.get(number, 0) for number in vm.request_names]
        return *named, sum(counts.values()) - sum(named)

    return values


def _fixed(*rows: str) -> Callable[[ObservedVm], Sequence[Labels]]:
    labels = tuple((row,) for row in rows)
    return lambda vm: labels


VCPU_METRICS: tuple[VcpuMetric, ...] = (
    VcpuMetric(
        "avmm_vcpu_exits",
        COUNTER,
        "Exits from guest mode, and traps handled in place, by reason.",
        lambda vm, vcpu: vcpu.stats.exits_by_reason,
        ("reason",),
        _by_enum(ExitReason),
    ),
    VcpuMetric(
        "avmm_vcpu_entries",
        COUNTER,
        "Entries into guest mode that have ended.",
        lambda vm, vcpu: (vcpu.stats.exits,),
    ),
    VcpuMetric(
        "avmm_vcpu_aborted_entries",
        COUNTER,
        "Entries given up at the last look at the requests.",
        lambda vm, vcpu: (vcpu.stats.aborted_entries,),
    ),
    VcpuMetric(
        "avmm_vcpu_requests_made",
        COUNTER,
        "Requests made of the vCPU.",
        _by_request(lambda stats: stats.requests_made),
        ("request",),
        _requests,
    ),
    VcpuMetric(
        "avmm_vcpu_requests_handled",
        COUNTER,
        "Requests the vCPU handled. Several made before it looked are handled as one.",
        _by_request(lambda stats: stats.requests_handled),
        ("request",),
        _requests,
    ),
    VcpuMetric(
        "avmm_vcpu_kicks",
        COUNTER,
        "Kicks of the vCPU, by what they came to.",
        lambda vm, vcpu: vcpu.stats.kicks,
        ("action",),
        _by_enum(KickAction),
    ),
    VcpuMetric(
        "avmm_vcpu_ipis_acknowledged",
        COUNTER,
        "IPIs whose sender waited for the acknowledgement, and got it.",
        lambda vm, vcpu: (vcpu.stats.ipis_acknowledged,),
    ),
    VcpuMetric(
        "avmm_vcpu_waits_pending",
        GAUGE,
        "IPIs whose sender is waiting for the acknowledgement.",
        lambda vm, vcpu: (len(vcpu.acks),),
    ),
    VcpuMetric(
        "avmm_vcpu_oldest_wait_seconds",
        GAUGE,
        "How long the longest of those has been waiting; 0 when none is.",
        lambda vm, vcpu: (oldest_wait_s(vm, vcpu),),
    ),
    VcpuMetric("avmm_vcpu_halts", COUNTER, "Times the guest waited for an interrupt.", lambda vm, vcpu: (vcpu.stats.halts,)),
    VcpuMetric(
        "avmm_vcpu_halt_polls",
        COUNTER,
        "Halts that began with polling.",
        lambda vm, vcpu: (vcpu.stats.halt_attempted_poll,),
    ),
    VcpuMetric(
        "avmm_vcpu_halt_polls_successful",
        COUNTER,
        "Halts that ended while polling, without a sleep.",
        lambda vm, vcpu: (vcpu.stats.halt_successful_poll,),
    ),
    VcpuMetric(
        "avmm_vcpu_halt_poll_seconds",
        COUNTER,
        "Time polled, by whether the halt ended meanwhile.",
        lambda vm, vcpu: (vcpu.stats.halt_poll_success_ns / NS_PER_S, vcpu.stats.halt_poll_fail_ns / NS_PER_S),
        ("result",),
        _fixed("success", "fail"),
    ),
    VcpuMetric(
        "avmm_vcpu_halt_poll_window_seconds",
        GAUGE,
        "How long the next halt will poll at most.",
        lambda vm, vcpu: (vcpu.halt_poll.window_ns / NS_PER_S,),
    ),
    VcpuMetric(
        "avmm_vcpu_wakeups",
        COUNTER,
        "Times the sleeping vCPU was woken.",
        lambda vm, vcpu: (vcpu.stats.wakeups,),
    ),
    VcpuMetric(
        "avmm_vcpu_spurious_wakeups",
        COUNTER,
        "Times the woken vCPU found nothing to do and went back to sleep.",
        lambda vm, vcpu: (vcpu.stats.spurious_wakeups,),
    ),
    VcpuMetric(
        "avmm_vcpu_guest_instructions",
        COUNTER,
        "Guest instructions executed while counting them was on.",
        lambda vm, vcpu: (vcpu.engine.instructions,),
    ),
    VcpuMetric(
        "avmm_vcpu_seconds",
        COUNTER,
        "Time of the VM's clock in guest mode, blocked (asleep: halted, paused or off), and on the host: all the rest.",
        times,
        ("state",),
        _fixed(*STATES),
    ),
    VcpuMetric(
        "avmm_vcpu_kick_to_exit_seconds",
        HISTOGRAM,
        "From sending an IPI to the vCPU being outside guest mode.",
        lambda vm, vcpu: vcpu.stats.kick_to_exit,
    ),
    VcpuMetric(
        "avmm_vcpu_halt_wait_seconds",
        HISTOGRAM,
        "From a halt to its end, for halts that slept.",
        lambda vm, vcpu: vcpu.stats.halt_wait,
    ),
)
