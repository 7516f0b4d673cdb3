"""From the metrics' definitions to OTLP's data points.

OpenTelemetry's own instruments have no histogram that is read when it is wanted, so the points are made as its SDK makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from avmm.plugin import FigureKind, FigureValue, Histogram
from avmm_prometheus.figures import SCRAPE_FAILURES, Figures
from avmm_prometheus.histogram import COARSE, FINE, Merged, Resolution
from avmm_prometheus.metric import Watched
from avmm_prometheus.vcpu_metrics import VCPU_METRICS
from avmm_prometheus.vm_metrics import VM_METRICS

Attributes = dict[str, str]
_UNITS = {"seconds": "s", "bytes": "By"}
_CUMULATIVE = sdk.AggregationTemporality.CUMULATIVE


class _Family:
    """The points of one metric."""

    def __init__(self, name: str, kind: FigureKind, help_: str, resolution: Resolution, times: tuple[int, int]) -> None:
        self._name, self._kind, self._help, self._resolution, self._times = name, kind, help_, resolution, times
        self._numbers: list[sdk.NumberDataPoint] = []
        self._histograms: list[sdk.HistogramDataPoint] = []

    def add(self, attributes: Attributes, value: FigureValue | Merged) -> None:
        start_ns, now_ns = self._times
        match value:
            case Merged(total, _):
                self._histograms.append(_point(attributes, total, self._resolution, self._times))
            case Histogram():
                self._histograms.append(_point(attributes, value, self._resolution, self._times))
            case number:
                self._numbers.append(sdk.NumberDataPoint(attributes, start_ns, now_ns, number))

    @property
    def any(self) -> bool:
        """True when there is a point."""
        return bool(self._numbers or self._histograms)

    def metric(self) -> sdk.Metric:
        data: sdk.Sum | sdk.Gauge | sdk.Histogram
        match self._kind:
            case FigureKind.COUNTER:
                data = sdk.Sum(self._numbers, _CUMULATIVE, is_monotonic=True)
            case FigureKind.GAUGE:
                data = sdk.Gauge(self._numbers)
            case FigureKind.HISTOGRAM:
                data = sdk.Histogram(self._histograms, _CUMULATIVE)
        return sdk.Metric(self._name, self._help, _UNITS.get(self._name.rpartition("_")[2], ""), data)


def _point(
    attributes: Attributes, histogram: Histogram, resolution: Resolution, times: tuple[int, int]
) -> sdk.HistogramDataPoint:
    *below, _, sum_s, count = resolution.cells(histogram)
    bounds = [float(bound) for bound in resolution.bounds[:-1]]
    counts = [int(after - before) for before, after in pairwise((0, *below, count))]
    unknown: float = None  # type: ignore[assignment]  # optional in the protocol, and so in the SDK's encoder
    return sdk.HistogramDataPoint(attributes, *times, int(count), sum_s, counts, bounds, unknown, unknown)


def metrics_data(
    watched: Watched, figures: Figures, resource: Resource, scope: InstrumentationScope, times: tuple[int, int]
) -> sdk.MetricsData:
    """Everything of one VM as it is now; `times` are when it was first watched and now, in nanoseconds since 1970."""
    families = [*_vm(watched, times), *_vcpus(watched, times), *_figures(figures, times)]
    metrics = [family.metric() for family in families if family.any]
    return sdk.MetricsData([sdk.ResourceMetrics(resource, [sdk.ScopeMetrics(scope, metrics, "")], "")])


def _vm(watched: Watched, times: tuple[int, int]) -> Iterator[_Family]:
    for metric in VM_METRICS:
        family = _Family(metric.name, metric.kind, metric.help, FINE, times)
        for values, value in metric.read(watched):
            family.add(_attributes({"vm": watched.vm.name}, metric.labels, values), value)
        yield family


def _vcpus(watched: Watched, times: tuple[int, int]) -> Iterator[_Family]:
    vm = watched.vm
    for metric in VCPU_METRICS:
        family = _Family(metric.name, metric.kind, metric.help, COARSE, times)
        rows = metric.rows(vm)
        for vcpu in vm.vcpus:
            read = metric.read(vm, vcpu)
            cells: Sequence[FigureValue] = (read,) if isinstance(read, Histogram) else read
            for values, value in zip(rows, cells, strict=True):
                family.add(_attributes({"vm": vm.name, "vcpu": str(vcpu.index)}, metric.labels, values), value)
        yield family


def _figures(figures: Figures, times: tuple[int, int]) -> Iterator[_Family]:
    families: dict[str, _Family] = {}
    for known, value in figures.read():
        family = families.get(known.name)
        if family is None:
            family = families[known.name] = _Family(known.name, known.figure.kind, known.figure.help, COARSE, times)
        family.add(dict(known.labels), value)
    yield from families.values()
    failures = _Family("avmm_scrape_failures", FigureKind.COUNTER, SCRAPE_FAILURES, COARSE, times)
    failures.add({"vm": figures.vm.name}, figures.failures)
    yield failures


def _attributes(of: Mapping[str, str], labels: tuple[str, ...], values: tuple[str, ...]) -> Attributes:
    return {**of, **dict(zip(labels, values, strict=True))}
