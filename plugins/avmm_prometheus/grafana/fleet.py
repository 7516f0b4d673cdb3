"""The dashboard of all VMs."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from avmm_prometheus.grafana.panels import board, graph, listing, number, quantile, rate

_VM = "instance, vm"
"""VMs of different processes may have one name."""
_NAME = "{{vm}} at {{instance}}"
_GUEST_TIME = rate("avmm_vcpu_seconds_total", 'state="guest"', _VM)


def fleet() -> Dashboard:
    """All VMs side by side: which of them is busy, slow or in trouble."""
    return (
        board("avmm-fleet", "avmm / fleet", "All VMs side by side.")
        .with_row(Row("Now"))
        .with_panel(number("VMs running", "VMs whose guest runs.", "short", 'sum(avmm_vm_state{state="running"})'))
        .with_panel(number("vCPUs", "vCPUs of all VMs.", "short", "sum(avmm_vm_vcpus)"))
        .with_panel(
            number(
                "Cores in guest mode",
                "Guest time a second, of all vCPUs.",
                "short",
                'sum(rate(avmm_vcpu_seconds_total{state="guest"}[$__rate_interval]))',
            )
        )
        .with_panel(number("Guest memory", "Memory of all VMs.", "bytes", "sum(avmm_vm_memory_bytes)"))
        .with_panel(number("Quarantined devices", "Devices taken out.", "short", "sum(avmm_device_quarantined)"))
        .with_panel(
            number(
                "Stalled WAITs", "WAITs of more than a second.", "short", "count(avmm_vcpu_oldest_wait_seconds > 1) or vector(0)"
            )
        )
        .with_row(Row("Time"))
        .with_panel(
            graph(
                "Guest time",
                "Cores in guest mode, by VM.",
                "short",
                (rate("avmm_vcpu_seconds_total", 'state="guest"', _VM), _NAME),
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "State time",
                "Cores by state, of all vCPUs.",
                "short",
                (rate("avmm_vcpu_seconds_total", "", "state"), "{{state}}"),
                stacked=True,
            )
        )
        .with_panel(
            graph(
                "Slot occupancy",
                "Guest time to what the slots could give.",
                "percentunit",
                (
                    f"{_GUEST_TIME} / on (instance, vm) avmm_vm_slots",
                    _NAME,
                ),
            )
        )
        .with_row(Row("Work"))
        .with_panel(graph("Exits", "Exits a second, by VM.", "ops", (rate("avmm_vcpu_exits_total", "", _VM), _NAME)))
        .with_panel(
            graph(
                "Kicks",
                "Kicks a second, by what they came to.",
                "ops",
                (rate("avmm_vcpu_kicks_total", "", "action"), "{{action}}"),
            )
        )
        .with_panel(
            graph(
                "Wake-ups",
                "Wake-ups a second beside those for nothing.",
                "ops",
                (f"sum({rate('avmm_vcpu_wakeups_total', '', 'vm')})", "woken"),
                (f"sum({rate('avmm_vcpu_spurious_wakeups_total', '', 'vm')})", "spurious"),
            )
        )
        .with_row(Row("Latency"))
        .with_panel(
            graph(
                "Request latency, p99",
                "From making a request to taking it up.",
                "s",
                (quantile("0.99", "avmm_vm_request_latency_seconds", "", _VM), _NAME),
            )
        )
        .with_panel(
            graph(
                "Timer lateness, p99",
                "From when a timer was due to its line going high.",
                "s",
                (quantile("0.99", "avmm_vcpu_timer_lateness_seconds", "", _VM), _NAME),
            )
        )
        .with_panel(
            graph(
                "Event-loop lag, p99",
                "How late an event loop makes a call.",
                "s",
                (quantile("0.99", "avmm_loop_lag_seconds", "", _VM), _NAME),
            )
        )
        .with_row(Row("Host and trouble"))
        .with_panel(
            graph(
                "VM time to host time",
                "1 where the VM's clock is the host's.",
                "short",
                (
                    "rate(avmm_vm_clock_seconds_total[$__rate_interval]) / rate(avmm_vm_host_seconds_total[$__rate_interval])",
                    _NAME,
                ),
            )
        )
        .with_panel(
            graph(
                "Processes",
                "Cores that the processes take.",
                "short",
                ("rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) avmm_build_info", "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Resident memory",
                "What the processes hold of the host's memory.",
                "bytes",
                ("process_resident_memory_bytes and on (instance) avmm_build_info", "{{instance}}"),
            )
        )
        .with_panel(
            graph(
                "Guest faults",
                "Odd things guests did, by kind.",
                "ops",
                (f"{rate('avmm_vm_guest_faults_total', '', 'instance, vm, kind')} or vector(0)", f"{_NAME} {{{{kind}}}}"),
                width=12,
            )
        )
        .with_panel(
            graph(
                "Alerts",
                "Alerts of avmm's rules that fire.",
                "short",
                (
                    'sum by (alertname, instance, vm) (ALERTS{alertname=~"Avmm.*", alertstate="firing"}) or vector(0)',
                    f"{{{{alertname}}}} {_NAME}",
                ),
                width=12,
            )
        )
        .with_panel(listing("VMs", "What they are.", "avmm_vm_info"))
    )
