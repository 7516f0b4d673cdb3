"""docs/metrics.md, from the definitions: `python -m avmm_prometheus.document > docs/metrics.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from avmm.plugin import BUCKETS, FigureKind
from avmm_prometheus.collector import BUILD_INFO, FINEST_BUCKET, SCRAPE_FAILURES
from avmm_prometheus.metrics import NS_PER_S, VCPU_METRICS, VM_METRICS, Metric, Subject

_HEAD = """\
# Metrics

`metrics = "HOST:PORT"` in a machine's description (`--metrics HOST:PORT` on the command line) serves these at
`http://HOST:PORT/metrics`, in the Prometheus text format or, for whoever asks for it, in OpenMetrics. `:PORT` is every IPv4
interface, `[::]:PORT` every interface; port 0 is any that is free, and the log says which. Machines of one process that name the
same address share it, told apart by the label `vm`.

The page is made when it is asked for, from plain integers that are counted anyway. Nothing is added to an exit, a kick or a
request, whether anybody scrapes or not. A scrape of 1000 vCPUs is 83,000 samples and took 0.6 s when measured, on a thread of its
own; the interpreter takes turns between it and the rest every 5 ms.

This page is written by `python -m avmm_prometheus.document` from the definitions; a test compares the two.
"""

_FIGURES = """\
## Figures of architectures and devices

An architecture and a device may count things of their own (`ArchVcpu.figures()` and `Device.figures()` in `avmm.plugin`). They
appear as `avmm_vcpu_NAME` with the labels `vm` and `vcpu`, and as `avmm_device_NAME` with `vm` and `device`; the figure's labels
come behind them, and a counter's name ends in `_total`. [figures.md](figures.md) lists those of the plugins that come with avmm.

A plugin whose figures cannot be read loses them for that scrape; `avmm_scrape_failures_total` counts it and the rest of the page
is whole.
"""


def _histograms() -> str:
    finest, coarsest = (1 << FINEST_BUCKET) / NS_PER_S, (1 << BUCKETS - 2) / NS_PER_S
    return f"""\
## Histograms

Durations are counted in buckets of powers of two nanoseconds: `le` goes from {1 << FINEST_BUCKET} ns (`{finest!r}`) to
{coarsest:.2f} s (`{coarsest!r}`), doubling each time, and then `+Inf`. A duration of exactly a bound is in the bucket behind it.
"""


def page() -> str:
    """The whole of docs/metrics.md."""
    return "\n".join(
        (
            _HEAD,
            _section("Of the exporter", (("avmm_build_info", "gauge", "`version`", BUILD_INFO), _failures())),
            _section("Of a VM", _rows(("vm",), VM_METRICS)),
            _section("Of a vCPU", _rows(("vm", "vcpu"), VCPU_METRICS)),
            _histograms(),
            _FIGURES,
        )
    )


def _failures() -> tuple[str, str, str, str]:
    return "avmm_scrape_failures_total", "counter", "`vm`", SCRAPE_FAILURES


def _rows(of: tuple[str, ...], metrics: Iterable[Metric[Subject]]) -> Iterable[tuple[str, str, str, str]]:
    for metric in metrics:
        name = f"{metric.name}_total" if metric.kind is FigureKind.COUNTER else metric.name
        yield name, metric.kind.value, ", ".join(f"`{label}`" for label in (*of, *metric.labels)), metric.help


def _section(title: str, rows: Iterable[tuple[str, str, str, str]]) -> str:
    lines = [f"## {title}", "", "| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    lines += [f"| `{name}` | {kind} | {labels} | {meaning} |" for name, kind, labels, meaning in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
