"""From the VMs' plain integers to the text of a page, at scrape time."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from avmm.plugin import ConfigError, FigureKind, Histogram, ObservedVm
from avmm_prometheus.exposition import head, label_text, prefixes, sample, template
from avmm_prometheus.figures import SCRAPE_FAILURES, Figures, Shapes
from avmm_prometheus.histogram import COARSE
from avmm_prometheus.metric import VcpuMetric, Watched
from avmm_prometheus.vcpu_metrics import VCPU_METRICS
from avmm_prometheus.vm_metrics import VM_METRICS

BUILD_INFO = "The versions of avmm and of Python; always 1."
CHUNK = 32
"""How many vCPUs' lines are made in one go."""


class VmCollector:
    """The VMs of one endpoint. Any thread; scrapes take turns."""

    def __init__(self) -> None:
        # Held for the length of a scrape, so that a VM which was taken out is read no more: its engine may be closed.
        self._lock = threading.Lock()
        self._vms: list[Watched] = []
        self._figures: dict[str, Figures] = {}
        self._shapes: Shapes = {}
        self._templates: dict[str, dict[tuple[str, int], str]] = {}

    def add(self, vm: ObservedVm) -> Watched:
        """Show `vm` from now on; ConfigError when one of its name is shown already."""
        with self._lock:
            if any(other.vm.name == vm.name for other in self._vms):
                raise ConfigError(f"another VM of the name {vm.name} is served there: give one of them another", key="name")
            watched = Watched(vm, time.monotonic_ns(), vm.clock.now_ns(), Histogram())
            self._vms.append(watched)
            self._figures[vm.name] = Figures(vm, self._shapes)
            self._templates[vm.name] = {}
            return watched

    def remove(self, vm: ObservedVm) -> bool:
        """Show `vm` no more, once a scrape under way is done with it; False when none is left."""
        with self._lock:
            if any(watched.vm is vm for watched in self._vms):
                self._vms = [watched for watched in self._vms if watched.vm is not vm]
                del self._figures[vm.name], self._templates[vm.name]
            return bool(self._vms)

    def lines(self, *, openmetrics: bool, breathe: Callable[[], None] = lambda: None) -> Iterator[str]:
        """Everything, as it is now, in pieces of whole lines; `breathe` is called wherever others may have a turn."""
        with self._lock:
            yield from self._build_info(openmetrics)
            yield from self._vm_lines(openmetrics, breathe)
            for metric in VCPU_METRICS:
                yield head(metric.name, metric.kind, metric.help, openmetrics=openmetrics)
                for watched in self._vms:
                    for piece in self._vcpu_lines(metric, watched.vm):
                        yield piece
                        breathe()
            yield from self._figure_lines(openmetrics, breathe)

    def _build_info(self, openmetrics: bool) -> Iterator[str]:
        try:
            installed = version("avmm")
        except PackageNotFoundError:  # run from a source tree
            installed = "unknown"
        labels = label_text((("version", installed), ("python", platform.python_version())))
        yield head("avmm_build_info", FigureKind.GAUGE, BUILD_INFO, openmetrics=openmetrics)
        yield from sample("avmm_build_info", FigureKind.GAUGE, labels, 1, openmetrics=openmetrics)

    def _vm_lines(self, openmetrics: bool, breathe: Callable[[], None]) -> Iterator[str]:
        for metric in VM_METRICS:
            yield head(metric.name, metric.kind, metric.help, openmetrics=openmetrics)
            for watched in self._vms:
                for values, value in metric.read(watched):
                    labels = label_text((("vm", watched.vm.name), *zip(metric.labels, values, strict=True)))
                    yield from sample(metric.name, metric.kind, labels, value, openmetrics=openmetrics)
                breathe()

    def _vcpu_lines(self, metric: VcpuMetric, vm: ObservedVm) -> Iterator[str]:
        templates, vcpus = self._templates[vm.name], vm.vcpus
        for start in range(0, len(vcpus), CHUNK):
            chunk = vcpus[start : start + CHUNK]
            values: list[int | float] = []
            for vcpu in chunk:
                read = metric.read(vm, vcpu)
                values += COARSE.cells(read) if isinstance(read, Histogram) else read
            lines = templates.get((metric.name, start))
            if lines is None:
                lines = templates[metric.name, start] = _template(metric, vm, [vcpu.index for vcpu in chunk])
            yield lines % tuple(values)

    def _figure_lines(self, openmetrics: bool, breathe: Callable[[], None]) -> Iterator[str]:
        """The figures that the VMs' architectures, engines and devices keep of their own, and how many could not be read."""
        families: dict[str, list[str]] = {}
        heads: dict[str, str] = {}
        for watched in self._vms:
            for known, value in self._figures[watched.vm.name].read(breathe):
                if known.name not in heads:
                    heads[known.name] = head(known.name, known.figure.kind, known.figure.help, openmetrics=openmetrics)
                families.setdefault(known.name, []).append(known.lines(value))
        for name, texts in families.items():
            yield heads[name]
            yield "".join(texts)
        yield head("avmm_scrape_failures", FigureKind.COUNTER, SCRAPE_FAILURES, openmetrics=openmetrics)
        for watched in self._vms:
            labels, failures = label_text((("vm", watched.vm.name),)), self._figures[watched.vm.name].failures
            yield from sample("avmm_scrape_failures", FigureKind.COUNTER, labels, failures, openmetrics=openmetrics)


def _template(metric: VcpuMetric, vm: ObservedVm, indices: Sequence[int]) -> str:
    rows = metric.rows(vm)

    def lines() -> Iterable[str]:
        for index in indices:
            for values in rows:
                labels = label_text((("vm", vm.name), ("vcpu", str(index)), *zip(metric.labels, values, strict=True)))
                yield from prefixes(metric.name, metric.kind, labels, COARSE)

    return template(lines())
