"""Histograms as they are shown."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from avmm.figure import BUCKETS, Histogram
from avmm_prometheus.histogram import COARSE, FINE, Resolution, merge


def counted(*durations_ns: int) -> Histogram:
    histogram = Histogram()
    for duration in durations_ns:
        histogram.count(duration)
    return histogram


def shown(resolution: Resolution, histogram: Histogram) -> dict[str, int | float]:
    """What is below each bound."""
    cells: Sequence[int | float] = resolution.cells(histogram)[:-2]
    return dict(zip(resolution.bounds, cells, strict=True))


def test_bounds_are_powers_of_two_in_seconds() -> None:
    assert [float(bound) for bound in FINE.bounds[:-1]] == [2**i / 1e9 for i in range(8, BUCKETS - 1)]
    assert [float(bound) for bound in COARSE.bounds[:-1]] == [4**i / 1e9 for i in range(5, 16)]
    assert FINE.bounds[-1] == COARSE.bounds[-1] == "+Inf"


@pytest.mark.parametrize("resolution", [FINE, COARSE])
def test_a_duration_is_below_its_bound(resolution: Resolution) -> None:
    for exponent in resolution.indices:
        bound = repr(2**exponent / 1e9)
        below, at = shown(resolution, counted(2**exponent - 1)), shown(resolution, counted(2**exponent))
        assert (below[bound], at[bound]) == (1, 0), bound


def test_the_finest_are_one() -> None:
    assert shown(FINE, counted(0, 1, 100, 255))["2.56e-07"] == 4


def test_the_rest_is_infinite() -> None:
    assert list(shown(FINE, counted(2**30 - 1, 2**30, 2**40, 2**70)).values())[-2:] == [1, 4]


@pytest.mark.parametrize("resolution", [FINE, COARSE])
def test_they_add_up(resolution: Resolution) -> None:
    cells = resolution.cells(counted(1, 300, 300, 70_000, 2**33))
    assert cells[:-2] == sorted(cells[:-2])
    assert cells[-3:] == [5, (601 + 70_000 + 2**33) / 1e9, 5]


def test_several_as_one() -> None:
    merged = merge([(0, counted(300, 5000)), (3, counted(400)), (7, Histogram())])
    assert merged.total.buckets == counted(300, 400, 5000).buckets
    assert merged.total.sum_ns == 5700


def test_the_example_of_a_bucket_is_the_longest_and_names_its_vcpu() -> None:
    merged = merge([(0, counted(310, 300)), (3, counted(400)), (5, counted(350, 9000))])
    assert merged.examples == {9: (4e-7, 3), 14: (9e-6, 5)}


def test_none_as_one() -> None:
    assert sum(merge([]).total.buckets) == 0
