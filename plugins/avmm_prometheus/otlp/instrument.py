"""The instrument: pushes a VM's metrics from its start to its end."""

from __future__ import annotations

import time

from avmm.plugin import ConfigError, Histogram, ObservedVm, get_logger
from avmm_prometheus.elsewhere import elsewhere
from avmm_prometheus.metric import Watched
from avmm_prometheus.otlp.pusher import Pusher
from avmm_prometheus.otlp.receiver import receiver_url
from avmm_prometheus.probe import Probe

INTERVAL_S = 10.0
PATH = "/v1/metrics"
"""Where receivers take metrics (OTLP/HTTP): used when a setting names no path."""

log = get_logger()


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
    url = receiver_url(url, PATH, key="otlp")
    try:
        interval_s = float(interval) if interval else INTERVAL_S
    except ValueError:
        interval_s = 0.0
    if not 0.1 <= interval_s <= 86_400:
        raise ConfigError(f"{setting!r}: the interval is 0.1 to 86400 seconds, not {interval}", key="otlp")
    return OtlpInstrument(url, interval_s)
