"""docs/metrics.md, from the definitions: `python -m avmm_prometheus.document > docs/metrics.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from avmm_prometheus.collector import BUILD_INFO
from avmm_prometheus.exposition import sample_name
from avmm_prometheus.figures import SCRAPE_FAILURES
from avmm_prometheus.histogram import COARSE, FINE, Resolution
from avmm_prometheus.metric import VcpuMetric, VmMetric
from avmm_prometheus.vcpu_metrics import VCPU_METRICS
from avmm_prometheus.vm_metrics import VM_METRICS

_HEAD = """\
# Metrics

`metrics = "HOST:PORT"` in a machine's description (`--metrics HOST:PORT` on the command line) serves these at
`http://HOST:PORT/metrics`, in the Prometheus text format or, for whoever asks for it, in OpenMetrics. `:PORT` is every IPv4
interface, `[::]:PORT` every interface; port 0 is any that is free, and the log says which. Machines of one process that name the
same address share it, told apart by the label `vm`.

The page is made when it is asked for, from plain integers that are counted anyway. Nothing is added to an exit, a kick or a
request, whether anybody scrapes or not; only a probe looks ten times a second how late the event loop is, and has the next
request of each number timed that is made of each vCPU.

A page is made on a thread of its own in slices of a millisecond, so that the event loop never waits longer for the interpreter.
Clients that ask at the same time share a page; a 257th connection at once is told 503. gzip is used where the client likes it. A
scrape of 1,000 vCPUs is in `make bench`.

The same can be [pushed](how-to/watch.md) by OpenTelemetry's protocol (`otlp = "URL"`).

Beside these there are the `process_` metrics that every Prometheus client has (CPU time, memory, file descriptors, start).

This page is written by `python -m avmm_prometheus.document` from the definitions; a test compares the two.
"""

_FIGURES = """\
## Figures of architectures, engines and devices

An architecture, an engine and a device may count things of their own (`ArchVcpu.figures()`, `VcpuEngine.figures()` and
`Device.figures()` in `avmm.plugin`). The first two appear as `avmm_vcpu_NAME` with the labels `vm` and `vcpu`, a device's as
`avmm_device_NAME` with `vm` and `device`; the figure's labels come behind them, and a counter's name ends in `_total`.
[figures.md](figures.md) lists those of the plugins that come with avmm.

A plugin whose figures cannot be read loses them for that scrape; `avmm_scrape_failures_total` counts it and the rest of the page
is whole.
"""


def _histograms() -> str:
    return f"""\
## Histograms

Durations are counted in buckets of powers of two nanoseconds. Those of a VM are shown with {_range(FINE)}; those
of a vCPU, which may be many, with {_range(COARSE)}. A duration of exactly a bound is in the bucket
behind it. In OpenMetrics a VM's bucket has an example: its longest recent duration, and the vCPU it was measured at.
"""


def _range(resolution: Resolution) -> str:
    finest, *_, coarsest, _ = resolution.bounds
    return f"`le` from {finest} to {coarsest} s, {2**resolution.step} times as much each time, and then `+Inf`"


def page() -> str:
    """The whole of docs/metrics.md."""
    return "\n".join(
        (
            _HEAD,
            _section("Of the exporter", (("avmm_build_info", "gauge", "`version`, `python`", BUILD_INFO), _failures())),
            _section("Of a VM", _rows(("vm",), VM_METRICS)),
            _section("Of a vCPU", _rows(("vm", "vcpu"), VCPU_METRICS)),
            _histograms(),
            _FIGURES,
        )
    )


def _failures() -> tuple[str, str, str, str]:
    return "avmm_scrape_failures_total", "counter", "`vm`", SCRAPE_FAILURES


def _rows(of: tuple[str, ...], metrics: Iterable[VmMetric | VcpuMetric]) -> Iterable[tuple[str, str, str, str]]:
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in (*of, *metric.labels))
        yield sample_name(metric.name, metric.kind), metric.kind.value, labels, metric.help


def _section(title: str, rows: Iterable[tuple[str, str, str, str]]) -> str:
    lines = [f"## {title}", "", "| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    lines += [f"| `{name}` | {kind} | {labels} | {meaning} |" for name, kind, labels, meaning in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
