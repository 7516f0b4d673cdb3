"""docs/metrics.md says what the exporter shows."""

from __future__ import annotations

from pathlib import Path

from avmm_prometheus.document import page

METRICS = Path(__file__).parents[2] / "docs/metrics.md"


def test_the_page_is_up_to_date() -> None:
    assert METRICS.read_text() == page(), "write it anew: python -m avmm_prometheus.document > docs/metrics.md"
