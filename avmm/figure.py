"""A figure: what is kept beyond the core's own counts, and the histogram that it may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum

from avmm.record import Record

BUCKETS = 32
"""Buckets of a power-of-two histogram: bucket i counts durations below 2**i ns (and not below 2**(i-1)), the last the rest."""


class Histogram:
    """Durations in power-of-two buckets, with their sum and the last one of each bucket in nanoseconds."""

    def __init__(self, buckets: Sequence[int] = (0,) * BUCKETS, sum_ns: int = 0) -> None:
        self.buckets = list(buckets)
        self.sum_ns = sum_ns
        self.last_ns: list[int] = []
        """The last duration counted in each bucket, an example of it; empty before the first."""

    def count(self, ns: int) -> None:
        """Count one duration."""
        bucket = ns.bit_length()
        if bucket >= BUCKETS:
            bucket = BUCKETS - 1
        try:
            self.last_ns[bucket] = ns
        except IndexError:
            self.last_ns = [0] * BUCKETS
            self.last_ns[bucket] = ns
        self.buckets[bucket] += 1  # last: a reader that sees it finds its example
        self.sum_ns += ns


class FigureKind(Enum):
    """How a figure behaves."""

    COUNTER = "counter"
    """Only grows."""
    GAUGE = "gauge"
    """Goes up and down."""
    HISTOGRAM = "histogram"
    """Its value is a `Histogram`."""


class Figure(Record):
    """A figure that an architecture, an engine or a device keeps beyond the core's own: what it is, apart from its value.

    `name` is lower-case words joined by `_`, the unit last where there is one (`timer_lateness_seconds`), without prefix or
    suffix: an exporter adds those. Figures of one name have one kind, one help and one set of label names, whose values come
    from small fixed sets.
    """

    name: str
    kind: FigureKind
    help: str
    """One sentence, with its full stop."""
    labels: Mapping[str, str] = field(default_factory=dict)


FigureValue = int | float | Histogram
"""A `Histogram` for FigureKind.HISTOGRAM, a number otherwise."""
