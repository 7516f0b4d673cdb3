"""Runs of both, one after the other, and what their ratios come to."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from tests.benchmarks.table import Row

Pair = tuple[float, float]
"""Of the same moment: avmm's figure, and its peer's."""


def at_most(what: str, pairs: list[Pair], limit: float, unit: str, peer: str) -> Row:
    """A figure that may be at most `limit` times its peer's, by the median of the pairs' ratios."""
    return _row(what, pairs, unit, peer, f"at most {limit:g}", lambda ratio: ratio <= limit)


def at_least(what: str, pairs: list[Pair], limit: float, unit: str, peer: str) -> Row:
    """A figure that should be at least `limit` times its peer's, by the median of the pairs' ratios."""
    return _row(what, pairs, unit, peer, f"at least {limit:g}", lambda ratio: ratio >= limit)


def beside(what: str, pairs: list[Pair], unit: str, peer: str) -> Row:
    """A figure beside its peer's, without a goal."""
    return _row(what, pairs, unit, peer, "", None)


def _row(what: str, pairs: list[Pair], unit: str, peer: str, goal: str, good: Callable[[float], bool] | None) -> Row:
    ours, theirs = (median(each) for each in zip(*pairs, strict=True))
    ratios = [one / other for one, other in pairs]
    ratio = median(ratios)
    met = None if good is None else good(ratio)
    return Row(what, f"{ours:,.2f} {unit}", f"{peer} {theirs:,.2f} {unit}", ratio, goal, met, (min(ratios), max(ratios)))
