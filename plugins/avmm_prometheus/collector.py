"""From the VMs' plain integers to metric families, at scrape time."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from avmm.plugin import BUCKETS, ConfigError, Figure, FigureKind, FigureValue, Histogram, ObservedVm
from avmm_prometheus.metrics import NS_PER_S, VCPU_METRICS, VM_METRICS, Metric, Subject, VcpuOf

BUILD_INFO = "The version of avmm."
SCRAPE_FAILURES = "Times the figures of a plugin could not be read."
FINEST_BUCKET = 8
"""The first bucket that is shown, 2**8 ns; what is below is shown in it. Waking a thread takes longer than that."""
_BOUNDS = tuple((index, repr((1 << index) / NS_PER_S)) for index in range(FINEST_BUCKET, BUCKETS - 1))
_OWN_NAMES = frozenset(metric.name for metric in VM_METRICS) | frozenset(metric.name for metric in VCPU_METRICS)
_WORD = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_OWN_LABELS = frozenset(("vm", "vcpu", "device", "le"))

log = structlog.get_logger("avmm")


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """(upper bound in seconds, count so far) of a power-of-two histogram, +Inf last.

    Bucket i of `Histogram` ends just below 2**i ns, so a duration of exactly a bound is in the bucket after it.
    """
    counts = histogram.buckets.copy()  # one step, while its owner may count on
    running = sum(counts[:FINEST_BUCKET])
    shown: list[tuple[str, float]] = []
    for index, bound in _BOUNDS:
        running += counts[index]
        shown.append((bound, running))
    shown.append(("+Inf", running + counts[-1]))
    return shown


class _Sheet:
    """The families of one scrape, by name, in the order of their first sample."""

    def __init__(self) -> None:
        self.families: dict[str, Family] = {}
        self._shapes: dict[str, tuple[FigureKind, tuple[str, ...]]] = {}

    def adder(
        self, name: str, kind: FigureKind, help_: str, labels: tuple[str, ...]
    ) -> Callable[[Sequence[str], FigureValue], None]:
        """What takes samples of a family; ValueError when it has another kind or other labels already."""
        family = self.families.get(name)
        if family is None:
            family = self.families[name] = _family(name, kind, help_, labels)
            self._shapes[name] = kind, labels
        elif self._shapes[name] != (kind, labels):
            raise ValueError(f"{name} has two kinds or two sets of labels")
        if isinstance(family, HistogramMetricFamily):
            histograms = family

            def add_histogram(values: Sequence[str], value: FigureValue) -> None:
                if not isinstance(value, Histogram):
                    raise TypeError(f"{name} is a histogram and its value is not")
                histograms.add_metric(values, buckets(value), value.sum_ns / NS_PER_S)

            return add_histogram
        assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
        numbers = family

        def add_number(values: Sequence[str], value: FigureValue) -> None:
            if isinstance(value, Histogram):
                raise TypeError(f"{name} is a {kind.value} and its value is a histogram")
            numbers.add_metric(values, value)

        return add_number

    def add(
        self, metrics: Iterable[Metric[Subject]], subjects: Iterable[tuple[tuple[str, ...], Subject]], of: tuple[str, ...]
    ) -> None:
        """Read `metrics` of every subject; `of` names the labels that say which subject it is."""
        named = list(subjects)
        for metric in metrics:
            add = self.adder(metric.name, metric.kind, metric.help, (*of, *metric.labels))
            for who, subject in named:
                for labels, value in metric.read(subject):
                    add((*who, *labels), value)

    def add_figures(self, prefix: str, figures: Iterable[tuple[Figure, FigureValue]], of: Mapping[str, str]) -> None:
        """Take a plugin's figures; ValueError or TypeError when one cannot be shown."""
        for figure, value in figures:
            name = prefix + figure.name
            if name not in self.families and not all(map(_WORD.fullmatch, (figure.name, *figure.labels))):
                raise ValueError(f"{name} or a label of it is not a name: lower-case words joined by _")
            if name in _OWN_NAMES or _OWN_LABELS & figure.labels.keys():
                raise ValueError(f"{name} has a name or a label that is taken")
            add = self.adder(name, figure.kind, figure.help, (*of, *figure.labels))
            add((*of.values(), *figure.labels.values()), value)


def _family(name: str, kind: FigureKind, help_: str, labels: tuple[str, ...]) -> Family:
    match kind:
        case FigureKind.COUNTER:
            return CounterMetricFamily(name, help_, labels=labels)
        case FigureKind.GAUGE:
            return GaugeMetricFamily(name, help_, labels=labels)
        case FigureKind.HISTOGRAM:
            return HistogramMetricFamily(name, help_, labels=labels)


class VmCollector(Collector):
    """The VMs of one endpoint. Any thread; scrapes take turns."""

    def __init__(self) -> None:
        # Held for the length of a scrape, so that a VM which was taken out is read no more: its engine may be closed.
        self._lock = threading.Lock()
        self._vms: list[ObservedVm] = []
        self._failures: dict[str, int] = {}

    def add(self, vm: ObservedVm) -> None:
        """Show `vm` from now on; ConfigError when one of its name is shown already."""
        with self._lock:
            if any(other.name == vm.name for other in self._vms):
                raise ConfigError(f"another VM of the name {vm.name} is served there: give one of them another", key="name")
            self._vms.append(vm)

    def remove(self, vm: ObservedVm) -> bool:
        """Show `vm` no more, once a scrape under way is done with it; False when none is left."""
        with self._lock:
            if vm in self._vms:
                self._vms.remove(vm)
                self._failures.pop(vm.name, None)
            return bool(self._vms)

    def collect(self) -> Iterable[Family]:
        """Everything, as it is now."""
        sheet = _Sheet()
        with self._lock:
            sheet.add(VM_METRICS, (((vm.name,), vm) for vm in self._vms), ("vm",))
            vcpus = (((vm.name, str(vcpu.index)), VcpuOf(vm, vcpu)) for vm in self._vms for vcpu in vm.vcpus)
            sheet.add(VCPU_METRICS, vcpus, ("vm", "vcpu"))
            for vm in self._vms:
                self._add_figures(sheet, vm)
            failures = CounterMetricFamily("avmm_scrape_failures", SCRAPE_FAILURES, labels=("vm",))
            for vm in self._vms:
                failures.add_metric((vm.name,), self._failures.get(vm.name, 0))
        return (_build_info(), failures, *sheet.families.values())

    def _add_figures(self, sheet: _Sheet, vm: ObservedVm) -> None:
        """The figures that the VM's architecture and devices keep of their own."""
        for vcpu in vm.vcpus:
            try:
                sheet.add_figures("avmm_vcpu_", vcpu.arch.figures(), {"vm": vm.name, "vcpu": str(vcpu.index)})
            except Exception as error:  # noqa: BLE001 - the plugin boundary
                self._failed(vm, f"vcpu{vcpu.index}", error)
        for region in vm.bus:
            try:
                sheet.add_figures("avmm_device_", region.device.figures(), {"vm": vm.name, "device": region.name})
            except Exception as error:  # noqa: BLE001 - the plugin boundary
                self._failed(vm, region.name, error)

    def _failed(self, vm: ObservedVm, of: str, error: Exception) -> None:
        count = self._failures[vm.name] = self._failures.get(vm.name, 0) + 1
        if count == 1:
            log.warning("figures cannot be read", vm=vm.name, of=of, error=f"{type(error).__name__}: {error}")


def _build_info() -> Family:
    try:
        installed = version("avmm")
    except PackageNotFoundError:  # run from a source tree
        installed = "unknown"
    return InfoMetricFamily("avmm_build", BUILD_INFO, {"version": installed})
