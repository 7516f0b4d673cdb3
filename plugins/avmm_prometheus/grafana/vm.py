"""The dashboard of one VM."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from avmm_prometheus.grafana.panels import (
    ONE_VM,
    VM_VARIABLES,
    Panels,
    board,
    graph,
    heat,
    number,
    quantile,
    quantiles,
    rate,
    rates,
    with_rows,
)

_VM = ONE_VM


def vm() -> Dashboard:
    """One VM: where its time goes, what its vCPUs ask of each other, and how long that takes."""
    made = board("avmm-vm", "avmm / VM", "One VM.", *VM_VARIABLES)
    return with_rows(
        made,
        {
            "Now": _now(),
            "Time": _time(),
            "Requests and kicks": _requests(),
            "Latency": _latency(),
            "Interrupts and devices": _devices(),
            "Trouble": _trouble(),
        },
    )


def _now() -> Panels:
    return [
        number("vCPUs", "vCPUs of the VM.", "short", f"avmm_vm_vcpus{{{_VM}}}"),
        number("Slots", "vCPUs that may be in guest mode at once.", "short", f"avmm_vm_slots{{{_VM}}}"),
        number("Slots taken", "Slots that a vCPU has.", "short", f"avmm_vm_slots_taken{{{_VM}}}"),
        number("Memory", "Guest memory.", "bytes", f"avmm_vm_memory_bytes{{{_VM}}}"),
        number("VM time to host time", "Since it has been watched.", "short", f"avmm_vm_clock_ratio{{{_VM}}}"),
        number("Running", "1 while the guest runs.", "short", f'avmm_vm_state{{{_VM}, state="running"}}'),
    ]


def _time() -> Panels:
    return [
        graph(
            "State time",
            "Cores by state, of all its vCPUs.",
            "short",
            rates("avmm_vcpu_seconds_total", _VM, "state"),
            stacked=True,
        ),
        graph(
            "Guest time",
            "Cores in guest mode, by vCPU.",
            "short",
            (rate("avmm_vcpu_seconds_total", f'{_VM}, state="guest"', "vcpu"), "vCPU {{vcpu}}"),
            stacked=True,
        ),
        graph(
            "Slots",
            "Slots taken, and vCPUs that wait for one.",
            "short",
            (f"avmm_vm_slots_taken{{{_VM}}}", "taken"),
            (f"avmm_vm_slot_waiters{{{_VM}}}", "waiting"),
        ),
        graph(
            "Exits",
            "Exits a second, and traps handled in place, by reason.",
            "ops",
            rates("avmm_vcpu_exits_total", _VM, "reason"),
            stacked=True,
        ),
        graph(
            "Exit handling",
            "Host cores that handle exits, by reason.",
            "short",
            rates("avmm_vm_exit_handling_seconds_sum", _VM, "reason"),
            stacked=True,
        ),
        graph(
            "Exit handling, p99",
            "From leaving the guest to entering it again, by reason.",
            "s",
            (quantile("0.99", "avmm_vm_exit_handling_seconds", _VM, "reason"), "{{reason}}"),
        ),
    ]


def _requests() -> Panels:
    return [
        graph("Requests made", "A second, by request.", "ops", rates("avmm_vcpu_requests_made_total", _VM, "request")),
        graph("Kicks", "A second, by what they came to.", "ops", rates("avmm_vcpu_kicks_total", _VM, "action")),
        graph(
            "Wake-ups",
            "A second, beside those for nothing.",
            "ops",
            (rate("avmm_vcpu_wakeups_total", _VM, "vm"), "woken"),
            (rate("avmm_vcpu_spurious_wakeups_total", _VM, "vm"), "spurious"),
        ),
        graph(
            "Stalled WAITs",
            "Requesters that wait for an acknowledgement, and how long the longest has been waiting.",
            "short",
            (f"sum(avmm_vcpu_waits_pending{{{_VM}}})", "waiting"),
            (f"max(avmm_vcpu_oldest_wait_seconds{{{_VM}}})", "longest, seconds"),
        ),
        graph(
            "Halt polling",
            "Host cores that poll, by whether it spared a sleep.",
            "short",
            rates("avmm_vcpu_halt_poll_seconds_total", _VM, "result"),
            stacked=True,
        ),
        graph(
            "Entries",
            "Entries a second beside those given up.",
            "ops",
            (rate("avmm_vcpu_entries_total", _VM, "vm"), "entered"),
            (rate("avmm_vcpu_aborted_entries_total", _VM, "vm"), "given up"),
            (rate("avmm_vm_remote_tlb_flush_requests_total", _VM), "remote TLB flushes"),
        ),
    ]


def _latency() -> Panels:
    return [
        graph(
            "Request latency, p99",
            "From making a request to taking it up, by request.",
            "s",
            (quantile("0.99", "avmm_vm_request_latency_seconds", _VM, "request"), "{{request}}"),
        ),
        graph("Kick to exit", "From an IPI to being out.", "s", *quantiles("avmm_vm_kick_to_exit_seconds", _VM)),
        graph("WAIT", "How long requesters waited.", "s", *quantiles("avmm_vm_request_wait_seconds", _VM)),
        heat("Request latency", "All requests.", "avmm_vm_request_latency_seconds", _VM),
        heat("Kick to exit", "All vCPUs.", "avmm_vm_kick_to_exit_seconds", _VM),
        heat("Halts", "From a halt to its end.", "avmm_vm_halt_wait_seconds", _VM),
        graph("Timer lateness", "Of all vCPUs.", "s", *quantiles("avmm_vcpu_timer_lateness_seconds", _VM)),
        heat("Timer lateness", "Of all vCPUs.", "avmm_vcpu_timer_lateness_seconds", _VM),
        graph("Event-loop lag", "How late it makes a call.", "s", *quantiles("avmm_loop_lag_seconds", _VM)),
    ]


def _devices() -> Panels:
    return [
        graph("Interrupt lines", "Times a second they went high.", "ops", rates("avmm_irq_raises_total", _VM, "device")),
        graph(
            "Interrupts acknowledged",
            "By the guest, a second.",
            "ops",
            rates("avmm_vcpu_interrupts_acknowledged_total", _VM, "kind"),
        ),
        graph("PMU overflows", "A second, by counter.", "ops", rates("avmm_vcpu_pmu_overflows_total", _VM, "counter")),
        graph(
            "Register accesses",
            "That reached a device, a second.",
            "ops",
            (rate("avmm_bus_reads_total", _VM, "device"), "{{device}} read"),
            (rate("avmm_bus_writes_total", _VM, "device"), "{{device}} written"),
        ),
        graph(
            "Virtio queues",
            "Descriptor chains that devices work on.",
            "short",
            (f"sum by (device, queue) (avmm_device_virtio_depth{{{_VM}}})", "{{device}} queue {{queue}}"),
        ),
        graph(
            "Virtio transfer",
            "Bytes a second.",
            "Bps",
            (rate("avmm_device_virtio_read_bytes_total", _VM, "device"), "{{device}} from the driver"),
            (rate("avmm_device_virtio_written_bytes_total", _VM, "device"), "{{device}} to the driver"),
        ),
        graph(
            "UART",
            "Bytes a second.",
            "Bps",
            (rate("avmm_device_uart_bytes_total", _VM, "device, direction"), "{{device}} {{direction}}"),
        ),
    ]


def _trouble() -> Panels:
    return [
        graph(
            "Guest faults",
            "Odd things the guest did, by kind.",
            "ops",
            (f"{rate('avmm_vm_guest_faults_total', _VM, 'kind')} or vector(0)", "{{kind}}"),
        ),
        graph(
            "Quarantined devices",
            "1 for a device that was taken out.",
            "short",
            (f"avmm_device_quarantined{{{_VM}}}", "{{device}}"),
        ),
        graph(
            "Unclaimed accesses",
            "A second, that no device answered.",
            "ops",
            (rate("avmm_bus_unclaimed_total", _VM), "unclaimed"),
        ),
    ]
