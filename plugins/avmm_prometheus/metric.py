"""What a metric is: its name, its labels, and where its values are read. Nothing here is called but by a scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from avmm.plugin import FigureKind, FigureValue, Histogram, ObservedVm, Vcpu
from avmm_prometheus.histogram import Merged

NS_PER_S = 1_000_000_000
COUNTER, GAUGE, HISTOGRAM = FigureKind.COUNTER, FigureKind.GAUGE, FigureKind.HISTOGRAM

Labels = tuple[str, ...]
"""The values of a metric's own labels."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A VM that is watched, since when, and how late its event loop was meanwhile."""

    vm: ObservedVm
    since_host_ns: int
    """The host's CLOCK_MONOTONIC when it was first watched."""
    since_vm_ns: int
    """The VM's clock at that time."""
    loop_lag: Histogram


@dataclass(frozen=True, slots=True)
class VmMetric:
    """A metric of a VM: few samples, each with the values of `labels`. The label `vm` comes first.

    `name` is whole but for the `_total` of a counter.
    """

    name: str
    kind: FigureKind
    help: str
    read: Callable[[Watched], Iterable[tuple[Labels, FigureValue | Merged]]]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VcpuMetric:
    """A metric of a vCPU: as many values as `rows` has for its VM. The labels `vm` and `vcpu` come first."""

    name: str
    kind: FigureKind
    help: str
    read: Callable[[ObservedVm, Vcpu], Sequence[int | float] | Histogram]
    """The values in the order of `rows`; one `Histogram` for FigureKind.HISTOGRAM."""
    labels: tuple[str, ...] = ()
    rows: Callable[[ObservedVm], Sequence[Labels]] = lambda vm: ((),)


def request_label(names: Mapping[int, str], number: int) -> str:
    """The label of a request; those that nobody named share one, so that there is a bound to them."""
    return names[number].lower() if number in names else "other"
