"""What a client would like, from its HTTP headers (RFC 9110, 12.5). Whatever they hold, there is an answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Form:
    """How a page is written."""

    openmetrics: bool
    gzip: bool

    @property
    def content_type(self) -> str:
        """The Content-Type of such a page."""
        return OPEN_METRICS if self.openmetrics else PLAIN


def choose(accept: str, accept_encoding: str) -> Form:
    """The form that the headers Accept and Accept-Encoding want; the plain format, unpacked, for who says nothing."""
    openmetrics = plain = 0.0
    for name, parameters, weight in _items(accept):
        if name == "application/openmetrics-text" and parameters.get("version", "1.0.0") == "1.0.0":
            openmetrics = max(openmetrics, weight)
        elif name == "text/plain":
            plain = max(plain, weight)
    gzip = any(name == "gzip" and weight for name, _, weight in _items(accept_encoding))
    return Form(0 < openmetrics >= plain, gzip)


def _items(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, parameters and weight of each thing a header lists; a weight that is none is 0."""
    for item in header.lower().split(","):
        name, *rest = (part.strip() for part in item.split(";"))
        parameters = {key.strip(): value.strip().strip('"') for key, _, value in (part.partition("=") for part in rest)}
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            weight = 0.0
        yield name, parameters, weight if 0 <= weight <= 1 else 0.0
