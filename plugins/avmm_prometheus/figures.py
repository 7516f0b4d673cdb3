"""The figures that a VM's architecture, engine and devices keep of their own, as lines of the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from avmm.plugin import Figure, FigureKind, FigureValue, Histogram, ObservedVm, get_logger
from avmm_prometheus.exposition import label_text, prefixes, template
from avmm_prometheus.histogram import COARSE
from avmm_prometheus.vcpu_metrics import VCPU_METRICS
from avmm_prometheus.vm_metrics import VM_METRICS

SCRAPE_FAILURES = "Times the figures of a plugin could not be read."
_OWN_NAMES = frozenset(metric.name for metric in VM_METRICS) | frozenset(metric.name for metric in VCPU_METRICS)
_WORD = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_OWN_LABELS = frozenset(("vm", "vcpu", "device", "le"))

Shapes = dict[str, tuple[str, FigureKind, tuple[str, ...]]]
"""Who keeps the families so far, their kinds and label names, of all VMs of a page."""
log = get_logger()


class Owner(NamedTuple):
    """Who keeps figures: the architecture or the engine of a vCPU, or a device."""

    kind: str
    """`arch`, `engine` or `device`."""
    name: str
    """`vcpu0` and so on, or the device's name."""


@dataclass(frozen=True, slots=True)
class Known:
    """A figure of one owner that was found to be in order."""

    figure: Figure
    name: str
    """Whole but for the `_total` of a counter."""
    labels: tuple[tuple[str, str], ...]
    """Those of its owner, then its own."""
    template: str

    def check(self, value: FigureValue) -> FigureValue:
        """`value` as a figure of this kind has it; TypeError when it cannot be one."""
        if self.figure.kind is FigureKind.HISTOGRAM and isinstance(value, Histogram):
            return value
        if self.figure.kind is not FigureKind.HISTOGRAM and isinstance(value, int | float):
            return value + 0  # a bool is a number
        raise TypeError(f"the value of {self.name} is not one of a {self.figure.kind.value}")

    def lines(self, value: FigureValue) -> str:
        """The lines of a page that show `value`."""
        return self.template % (tuple(COARSE.cells(value)) if isinstance(value, Histogram) else value)


class Figures:
    """Those of one VM. A figure is checked when it is first seen, and its labels are written once."""

    def __init__(self, vm: ObservedVm, shapes: Shapes) -> None:
        self.vm, self._shapes = vm, shapes
        self._known: dict[tuple[str, ...], Known] = {}
        self.failures = 0
        """Times a plugin's could not be read."""

    def read(self, breathe: Callable[[], None] = lambda: None) -> Iterator[tuple[Known, FigureValue]]:
        """All of them, as they are now. A plugin that raises, or whose figure cannot be shown, loses the rest of its own."""
        vm = self.vm
        for vcpu in vm.vcpus:
            labels = (("vm", vm.name), ("vcpu", str(vcpu.index)))
            yield from self._guarded(Owner("arch", f"vcpu{vcpu.index}"), "avmm_vcpu_", vcpu.arch.figures, labels)
            yield from self._guarded(Owner("engine", f"vcpu{vcpu.index}"), "avmm_vcpu_", vcpu.engine.figures, labels)
            breathe()
        for region in vm.bus:
            labels = (("vm", vm.name), ("device", region.name))
            yield from self._guarded(Owner("device", region.name), "avmm_device_", region.device.figures, labels)

    def _guarded(
        self,
        owner: Owner,
        prefix: str,
        figures: Callable[[], Iterable[tuple[Figure, FigureValue]]],
        labels: tuple[tuple[str, str], ...],
    ) -> Iterator[tuple[Known, FigureValue]]:
        try:
            for figure, value in figures():
                known = self._known.get((*owner, figure.name, *figure.labels.values()))
                if known is None or (known.figure is not figure and known.figure != figure):
                    known = self._check(figure, owner, prefix, labels)
                yield known, known.check(value)
        except Exception as error:  # noqa: BLE001 - the plugin boundary
            self.failures += 1
            if self.failures == 1:
                log.warning(
                    "figures cannot be read", vm=self.vm.name, of=" ".join(owner), error=f"{type(error).__name__}: {error}"
                )

    def _check(self, figure: Figure, owner: Owner, prefix: str, labels: tuple[tuple[str, str], ...]) -> Known:
        """Take a figure as known; ValueError when it cannot be shown."""
        name = prefix + figure.name
        if not all(map(_WORD.fullmatch, (figure.name, *figure.labels))):
            raise ValueError(f"{name} or a label of it is not a name: lower-case words joined by _")
        if name in _OWN_NAMES or _OWN_LABELS & figure.labels.keys():
            raise ValueError(f"{name} has a name or a label that is taken")
        shape = owner.kind, figure.kind, tuple(figure.labels)
        if self._shapes.setdefault(name, shape) != shape:
            raise ValueError(f"{name} has two keepers, two kinds or two sets of labels")
        whole = *labels, *figure.labels.items()
        text = template(prefixes(name, figure.kind, label_text(whole), COARSE))
        known = self._known[*owner, figure.name, *figure.labels.values()] = Known(figure, name, whole, text)
        return known
