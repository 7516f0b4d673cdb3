"""The instrument: pushes a VM's metrics from its start to its end."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import structlog

from avmm.plugin import ConfigError, Histogram, ObservedVm
from avmm_prometheus.elsewhere import elsewhere
from avmm_prometheus.metric import Watched
from avmm_prometheus.otlp.pusher import Pusher
from avmm_prometheus.probe import Probe

INTERVAL_S = 10.0
PATH = "/v1/metrics"
"""Where receivers take metrics (OTLP/HTTP): used when a setting names no path."""

log = structlog.get_logger("avmm")


class OtlpInstrument:
    """Pushes the metrics of the VMs it watches to `url` every `interval_s` seconds (0.1 to 86,400)."""

    def __init__(self, url: str, interval_s: float = INTERVAL_S) -> None:
        self.url, self._interval_s = url, interval_s
        self._watching: dict[str, tuple[Probe, Pusher]] = {}

    async def start(self, vm: ObservedVm) -> None:
        """Push `vm`'s metrics from now on. A receiver that is not there is one warning, and tried again."""
        watched = Watched(vm, time.monotonic_ns(), vm.clock.now_ns(), Histogram())
        self._watching[vm.name] = Probe(watched), Pusher(watched, self.url, self._interval_s)
        log.info("metrics pushed", vm=vm.name, url=self.url)

    async def stop(self, vm: ObservedVm) -> None:
        """Push a last time, and no more; returns once nothing reads `vm`."""
        probe, pusher = self._watching.pop(vm.name)
        probe.stop()
        await elsewhere(pusher.stop)


def create_instrument(setting: str) -> OtlpInstrument:
    """The instrument for `otlp = "URL"` or `"URL,interval=SECONDS"`; ConfigError when it is none."""
    url, _, interval = setting.partition(",interval=")
    try:
        interval_s = float(interval) if interval else INTERVAL_S
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or not 0.1 <= interval_s <= 86_400:
            raise ValueError(setting)
    except ValueError:
        raise ConfigError(
            f"{setting!r} is not URL or URL,interval=SECONDS, like http://127.0.0.1:4318,interval=10 (from 0.1 to 86400)",
            key="otlp",
        ) from None
    return OtlpInstrument(url if parts.path not in ("", "/") else f"{parts.scheme}://{parts.netloc}{PATH}", interval_s)
