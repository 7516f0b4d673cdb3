"""The dashboard of all VMs."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from avmm_prometheus.grafana.panels import Panels, board, graph, listing, number, quantile, rate, with_rows

_VM = "instance, vm"
"""VMs of different processes may have one name."""
_NAME = "{{vm}} at {{instance}}"
_GUEST_TIME = rate("avmm_vcpu_seconds_total", 'state="guest"', _VM)


def fleet() -> Dashboard:
    """All VMs side by side: which of them is busy, slow or in trouble."""
    made = board("avmm-fleet", "avmm / fleet", "All VMs side by side.")
    return with_rows(
        made,
        {
            "Now": _now(),
            "Time": _time(),
            "Work": _work(),
            "Latency": _latency(),
            "Host and trouble": _trouble(),
        },
    )


def _now() -> Panels:
    return [
        number("VMs running", "VMs whose guest runs.", "short", 'sum(avmm_vm_state{state="running"})'),
        number("vCPUs", "vCPUs of all VMs.", "short", "sum(avmm_vm_vcpus)"),
        number(
            "Cores in guest mode",
            "Guest time a second, of all vCPUs.",
            "short",
            'sum(rate(avmm_vcpu_seconds_total{state="guest"}[$__rate_interval]))',
        ),
        number("Guest memory", "Memory of all VMs.", "bytes", "sum(avmm_vm_memory_bytes)"),
        number("Quarantined devices", "Devices taken out.", "short", "sum(avmm_device_quarantined)"),
        number("Stalled WAITs", "WAITs of more than a second.", "short", "count(avmm_vcpu_oldest_wait_seconds > 1) or vector(0)"),
    ]


def _time() -> Panels:
    return [
        graph(
            "Guest time",
            "Cores in guest mode, by VM.",
            "short",
            (rate("avmm_vcpu_seconds_total", 'state="guest"', _VM), _NAME),
            stacked=True,
        ),
        graph(
            "State time",
            "Cores by state, of all vCPUs.",
            "short",
            (rate("avmm_vcpu_seconds_total", "", "state"), "{{state}}"),
            stacked=True,
        ),
        graph(
            "Slot occupancy",
            "Guest time to what the slots could give.",
            "percentunit",
            (
                f"{_GUEST_TIME} / on (instance, vm) avmm_vm_slots",
                _NAME,
            ),
        ),
    ]


def _work() -> Panels:
    return [
        graph("Exits", "Exits a second, by VM.", "ops", (rate("avmm_vcpu_exits_total", "", _VM), _NAME)),
        graph(
            "Kicks",
            "Kicks a second, by what they came to.",
            "ops",
            (rate("avmm_vcpu_kicks_total", "", "action"), "{{action}}"),
        ),
        graph(
            "Wake-ups",
            "Wake-ups a second beside those for nothing.",
            "ops",
            (f"sum({rate('avmm_vcpu_wakeups_total', '', 'vm')})", "woken"),
            (f"sum({rate('avmm_vcpu_spurious_wakeups_total', '', 'vm')})", "spurious"),
        ),
    ]


def _latency() -> Panels:
    return [
        graph(
            "Request latency, p99",
            "From making a request to taking it up.",
            "s",
            (quantile("0.99", "avmm_vm_request_latency_seconds", "", _VM), _NAME),
        ),
        graph(
            "Timer lateness, p99",
            "From when a timer was due to its line going high.",
            "s",
            (quantile("0.99", "avmm_vcpu_timer_lateness_seconds", "", _VM), _NAME),
        ),
        graph(
            "Event-loop lag, p99",
            "How late an event loop makes a call.",
            "s",
            (quantile("0.99", "avmm_loop_lag_seconds", "", _VM), _NAME),
        ),
    ]


def _trouble() -> Panels:
    return [
        graph(
            "VM time to host time",
            "1 where the VM's clock is the host's.",
            "short",
            (
                "rate(avmm_vm_clock_seconds_total[$__rate_interval]) / rate(avmm_vm_host_seconds_total[$__rate_interval])",
                _NAME,
            ),
        ),
        graph(
            "Processes",
            "Cores that the processes take.",
            "short",
            ("rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) avmm_build_info", "{{instance}}"),
        ),
        graph(
            "Resident memory",
            "What the processes hold of the host's memory.",
            "bytes",
            ("process_resident_memory_bytes and on (instance) avmm_build_info", "{{instance}}"),
        ),
        graph(
            "Guest faults",
            "Odd things guests did, by kind.",
            "ops",
            (f"{rate('avmm_vm_guest_faults_total', '', 'instance, vm, kind')} or vector(0)", f"{_NAME} {{{{kind}}}}"),
            width=12,
        ),
        graph(
            "Alerts",
            "Alerts of avmm's rules that fire.",
            "short",
            (
                'sum by (alertname, instance, vm) (ALERTS{alertname=~"Avmm.*", alertstate="firing"}) or vector(0)',
                f"{{{{alertname}}}} {_NAME}",
            ),
            width=12,
        ),
        listing("VMs", "What they are.", "avmm_vm_info"),
    ]
