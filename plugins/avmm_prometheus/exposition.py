"""The text of a page: Prometheus's format 0.0.4, and OpenMetrics 1.0 where it differs (heads, examples, the end).

prometheus_client's own writer takes 6 us a sample, most of it for labels that are the same at every scrape. Here a line is its
labels, escaped once, and a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from avmm.plugin import FigureKind, FigureValue, Histogram
from avmm_prometheus.histogram import FINE, Example, Merged, Resolution

Value = int | float


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def head(name: str, kind: FigureKind, help_: str, *, openmetrics: bool) -> str:
    """What comes before a family's samples. The two formats differ in whether a counter's family has its `_total`."""
    family = name if openmetrics else sample_name(name, kind)
    text = help_.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        text = text.replace('"', r"\"")
    return f"# HELP {family} {text}\n# TYPE {family} {kind.value}\n"


def sample_name(name: str, kind: FigureKind) -> str:
    """The name of a family's samples; of a histogram's, without what is behind it."""
    return f"{name}_total" if kind is FigureKind.COUNTER else name


def label_text(labels: Iterable[tuple[str, str]]) -> str:
    """Labels as they stand between braces."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels)


def prefixes(name: str, kind: FigureKind, labels: str, resolution: Resolution) -> list[str]:
    """The lines of one sample, up to their values: one, or a histogram's in the order of `Resolution.cells()`."""
    if kind is not FigureKind.HISTOGRAM:
        return [f"{sample_name(name, kind)}{{{labels}}} " if labels else f"{sample_name(name, kind)} "]
    more = f"{labels}," if labels else ""
    braces = f"{{{labels}}}" if labels else ""
    buckets = [f'{name}_bucket{{{more}le="{bound}"}} ' for bound in resolution.bounds]
    return [*buckets, f"{name}_sum{braces} ", f"{name}_count{braces} "]


def template(lines: Iterable[str]) -> str:
    """A format of whole lines that takes their values."""
    return "".join(line.replace("%", "%%") + "%s\n" for line in lines)


def sample(name: str, kind: FigureKind, labels: str, value: FigureValue | Merged, *, openmetrics: bool) -> Iterator[str]:
    """The lines of one sample, a histogram in full resolution, in OpenMetrics with an example for each bucket."""
    examples: Mapping[int, str] = {}
    cells: Sequence[Value]
    match value:
        case Merged(total, by_bucket):
            cells = FINE.cells(total)
            if openmetrics:
                examples = _examples(by_bucket)
        case Histogram():
            cells = FINE.cells(value)
        case number:
            cells = (number,)
    for index, (prefix, cell) in enumerate(zip(prefixes(name, kind, labels, FINE), cells, strict=True)):
        yield f"{prefix}{cell}{examples.get(index, '')}\n"


def _examples(by_bucket: Mapping[int, Example]) -> dict[int, str]:
    """Examples by the place of their bucket among those shown; of the finest that are shown as one, the longest."""
    last = len(FINE.indices)
    return {
        min(max(index - FINE.finest, 0), last): f' # {{vcpu="{vcpu}"}} {seconds!r}'
        for index, (seconds, vcpu) in sorted(by_bucket.items())
    }
