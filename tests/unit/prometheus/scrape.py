"""A client of the endpoint, and a parsed page."""

from __future__ import annotations

import asyncio
from http.client import HTTPConnection

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


class Page:
    """Every sample of a page, by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kinds: dict[str, str] = {}
        self.samples: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            self.kinds[family.name] = family.type
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                assert key not in self.samples, f"{key} is there twice"
                self.samples[key] = sample.value

    def __getitem__(self, key: str | tuple[str, dict[str, str]]) -> float:
        name, labels = (key, {}) if isinstance(key, str) else key
        return self.samples[name, tuple(sorted(labels.items()))]

    def value(self, name: str, **labels: str) -> float:
        return self[name, labels]

    def labels(self, name: str) -> set[str]:
        """The label names of a metric."""
        return {label for (sample, labels) in self.samples for label, _ in labels if sample == name}


def get(address: str, path: str = "/metrics", **headers: str) -> tuple[int, str, str]:
    """(status, content type, body) of a GET. Blocks."""
    host, _, port = address.rpartition(":")
    connection = HTTPConnection(host.strip("[]"), int(port), timeout=60)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


async def scrape(address: str) -> Page:
    """The page at `address`, fetched from another thread."""
    status, _, body = await asyncio.to_thread(get, address)
    assert status == 200
    return Page(body)
