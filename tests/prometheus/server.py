"""A real Prometheus, for a test."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

PROMETHEUS = shutil.which("prometheus")
INTERVAL_S = 0.2
DEADLINE_S = 60.0
"""Only a failure takes so long."""


class Prometheus:
    """What it answers."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def get(self, path: str, **parameters: str) -> dict:
        """The data of an API call."""
        url = f"{self._url}/api/v1/{path}?{urlencode(parameters)}"
        text = await asyncio.to_thread(lambda: urlopen(url, timeout=60).read())
        return json.loads(text)["data"]

    async def values(self, expression: str) -> list[float]:
        """What an expression comes to now, without those that are not a number."""
        result = (await self.get("query", query=expression))["result"]
        values = [float(series["value"][1]) for series in result]
        return [value for value in values if value == value]

    async def firing(self) -> set[tuple[str, str]]:
        """(alert, VM) of the alerts that fire."""
        alerts = (await self.get("alerts"))["alerts"]
        return {(alert["labels"]["alertname"], alert["labels"].get("vm", "")) for alert in alerts if alert["state"] == "firing"}


@asynccontextmanager
async def prometheus(directory: Path, targets: Iterable[str], rules: Sequence[Path]) -> AsyncIterator[Prometheus]:
    """Prometheus scraping `targets` five times a second, with its data in `directory`."""
    assert PROMETHEUS is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    interval = f"{INTERVAL_S * 1000:.0f}ms"
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(rule) for rule in rules],
        "scrape_configs": [{"job_name": "avmm", "scrape_timeout": interval, "static_configs": [{"targets": list(targets)}]}],
    }
    (directory / "prometheus.yml").write_text(json.dumps(config))
    with (directory / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PROMETHEUS,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={address}",
            "--enable-feature=exemplar-storage",
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://{address}"
        async with asyncio.timeout(DEADLINE_S):
            while not await asyncio.to_thread(_ready, url):
                assert process.returncode is None, (directory / "prometheus.log").read_text()
                await asyncio.sleep(0.05)
        yield Prometheus(url)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _ready(url: str) -> bool:
    try:
        return urlopen(f"{url}/-/ready", timeout=5).status == 200
    except (URLError, OSError):
        return False
