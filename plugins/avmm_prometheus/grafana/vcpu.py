"""The dashboard of one vCPU."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from avmm_prometheus.grafana.panels import ONE_VM, VM_VARIABLES, Panels, board, graph, heat, quantiles, rate, rates, with_rows

_VCPU = f'{ONE_VM}, vcpu="$vcpu"'


def vcpu() -> Dashboard:
    """One vCPU."""
    made = board(
        "avmm-vcpu",
        "avmm / vCPU",
        "One vCPU.",
        *VM_VARIABLES,
        ("vcpu", f"label_values(avmm_vcpu_entries_total{{{ONE_VM}}}, vcpu)"),
    )
    return with_rows(
        made,
        {
            "Time": _time(),
            "Requests and kicks": _requests(),
            "Latency": _latency(),
            "Interrupts": _interrupts(),
        },
    )


def _time() -> Panels:
    return [
        graph(
            "State time",
            "Share of its time by state.",
            "percentunit",
            rates("avmm_vcpu_seconds_total", _VCPU, "state"),
            stacked=True,
        ),
        graph("Exits", "A second, by reason.", "ops", rates("avmm_vcpu_exits_total", _VCPU, "reason"), stacked=True),
        graph(
            "Guest instructions",
            "A second, while they are counted.",
            "ops",
            (rate("avmm_vcpu_guest_instructions_total", _VCPU), "instructions"),
        ),
    ]


def _requests() -> Panels:
    return [
        graph(
            "Requests",
            "Made of it and handled by it, a second.",
            "ops",
            (rate("avmm_vcpu_requests_made_total", _VCPU, "request"), "{{request}} made"),
            (rate("avmm_vcpu_requests_handled_total", _VCPU, "request"), "{{request}} handled"),
        ),
        graph("Kicks", "A second, by what they came to.", "ops", rates("avmm_vcpu_kicks_total", _VCPU, "action")),
        graph(
            "Wake-ups",
            "A second, beside those for nothing.",
            "ops",
            (rate("avmm_vcpu_wakeups_total", _VCPU), "woken"),
            (rate("avmm_vcpu_spurious_wakeups_total", _VCPU), "spurious"),
            (rate("avmm_vcpu_halts_total", _VCPU), "halts"),
        ),
        graph(
            "Stalled WAITs",
            "Requesters that wait for its acknowledgement, and how long the longest has been waiting.",
            "short",
            (f"avmm_vcpu_waits_pending{{{_VCPU}}}", "waiting"),
            (f"avmm_vcpu_oldest_wait_seconds{{{_VCPU}}}", "longest, seconds"),
        ),
        graph(
            "Halt polling",
            "Share of its time, by whether it spared a sleep; and the window.",
            "percentunit",
            rates("avmm_vcpu_halt_poll_seconds_total", _VCPU, "result"),
        ),
        graph(
            "Polling window",
            "How long the next halt polls.",
            "s",
            (f"avmm_vcpu_halt_poll_window_seconds{{{_VCPU}}}", "window"),
        ),
    ]


def _latency() -> Panels:
    return [
        graph("Kick to exit", "From an IPI to being out.", "s", *quantiles("avmm_vcpu_kick_to_exit_seconds", _VCPU)),
        graph("Halts", "From a halt to its end.", "s", *quantiles("avmm_vcpu_halt_wait_seconds", _VCPU)),
        graph("Timer lateness", "Of its timers.", "s", *quantiles("avmm_vcpu_timer_lateness_seconds", _VCPU)),
        heat("Kick to exit", "Fourfold buckets.", "avmm_vcpu_kick_to_exit_seconds", _VCPU),
        heat("Halts", "Fourfold buckets.", "avmm_vcpu_halt_wait_seconds", _VCPU),
        heat("Timer lateness", "Fourfold buckets.", "avmm_vcpu_timer_lateness_seconds", _VCPU),
    ]


def _interrupts() -> Panels:
    return [
        graph("Acknowledged", "A second, by kind.", "ops", rates("avmm_vcpu_interrupts_acknowledged_total", _VCPU, "kind")),
        graph("Timers", "Times a second they went off.", "ops", rates("avmm_vcpu_timer_fires_total", _VCPU, "timer")),
        graph("PMU overflows", "A second, by counter.", "ops", rates("avmm_vcpu_pmu_overflows_total", _VCPU, "counter")),
    ]
