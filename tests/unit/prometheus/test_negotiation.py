"""Which form of a page the headers of a request want."""

from __future__ import annotations

import pytest

from avmm_prometheus.negotiation import choose

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ('Application/OpenMetrics-Text; Version="1.0.0"', True),
        ("application/openmetrics-text; version=1.0.0, text/plain", True),
        ("application/openmetrics-text; q=0.4, text/plain; q=0.5", False),
        ("application/openmetrics-text; q=0", False),
        ("application/openmetrics-text; version=2.0.0", False),
        ("application/openmetrics-text; version=abc", False),
        ("application/openmetrics-text; q=much", False),
        ("application/openmetrics-text; q=nan", False),
        ("application/openmetrics-text; q=7", False),
        (";;;,,=,q=,;q", False),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
    ],
)
def test_the_format(accept: str, openmetrics: bool) -> None:
    form = choose(accept, "")
    assert form.openmetrics is openmetrics
    assert form.content_type.startswith(
        "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain; version=0.0.4"
    )


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("br,gzip;q=1.0", True),
        ("gzip; q=0.001", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=x", False),
        ("xgzip", False),
    ],
)
def test_who_likes_gzip(header: str, accepted: bool) -> None:
    assert choose("", header).gzip is accepted
