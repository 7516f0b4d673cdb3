"""Power-of-two histograms as they are shown: cumulative, in seconds, and several as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from avmm.plugin import BUCKETS, Histogram

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Resolution:
    """Which bounds are shown: 2**`finest` ns, then each `step` powers of two further, and at last +Inf.

    What is below the finest is shown in its bucket. A duration of exactly a bound is in the bucket behind it.
    """

    finest: int
    step: int

    @property
    def indices(self) -> range:
        """The buckets of `Histogram` that end at the bounds."""
        return range(self.finest, BUCKETS - 1, self.step)

    @property
    def bounds(self) -> tuple[str, ...]:
        """The bounds in seconds, as the label `le` has them."""
        return *(repr((1 << index) / _NS_PER_S) for index in self.indices), "+Inf"

    def cells(self, histogram: Histogram) -> list[int | float]:
        """What is below each bound, then the sum in seconds, then the count."""
        running = list(accumulate(histogram.buckets.copy()))  # copied in one step, while its owner may count on
        count = running[-1]
        return [*running[self.finest : BUCKETS - 1 : self.step], count, histogram.sum_ns / _NS_PER_S, count]


FINE = Resolution(8, 1)
"""256 ns to 1.07 s, doubling: of a whole VM. Waking a thread takes longer than that."""
COARSE = Resolution(10, 2)
"""1.024 us to 1.07 s, fourfold: of one vCPU, of which there may be thousands."""


class Example(NamedTuple):
    """One duration of a bucket, and the vCPU it was counted at."""

    seconds: float
    vcpu: int


@dataclass(frozen=True, slots=True)
class Merged:
    """The histograms of several vCPUs as one, with an example for each bucket that has any."""

    total: Histogram
    examples: dict[int, Example]


def merge(of: Sequence[tuple[int, Histogram]]) -> Merged:
    """Histograms by the index of their vCPU, as one. The example of a bucket is the longest there is."""
    of = [(vcpu, histogram) for vcpu, histogram in of if any(histogram.buckets)]
    if not of:
        return Merged(Histogram(), {})
    buckets = [sum(column) for column in zip(*(histogram.buckets.copy() for _, histogram in of), strict=True)]
    examples = {}
    for index, lasts in enumerate(zip(*(histogram.last_ns.copy() for _, histogram in of), strict=True)):
        if buckets[index]:
            longest = max(lasts)
            examples[index] = Example(longest / _NS_PER_S, of[lasts.index(longest)][0])
    return Merged(Histogram(buckets, sum(histogram.sum_ns for _, histogram in of)), examples)
