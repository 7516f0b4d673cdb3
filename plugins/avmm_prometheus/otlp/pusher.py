"""Pushes one VM's metrics to a receiver, again and again, from a thread of its own."""

from __future__ import annotations

import threading
import time

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from avmm.plugin import get_logger
from avmm_prometheus.figures import Figures
from avmm_prometheus.metric import Watched
from avmm_prometheus.otlp.points import metrics_data
from avmm_prometheus.otlp.receiver import LAST_S, installed_version, resource

log = get_logger()


class Pusher:
    """Pushes at once, then every `interval_s`, and a last time when it is stopped. Its headers, certificates and time-out come
    from the environment, as OpenTelemetry has them (`OTEL_EXPORTER_OTLP_HEADERS` and so on)."""

    def __init__(self, watched: Watched, url: str, interval_s: float) -> None:
        self._watched, self._url, self._interval_s = watched, url, interval_s
        self._figures = Figures(watched.vm, {})
        self._exporter = OTLPMetricExporter(url, compression=Compression.Gzip)
        self._scope = InstrumentationScope("avmm", installed_version())
        self._resource = resource()
        self._since_ns = time.time_ns()
        self._over = threading.Event()
        self._failed = False
        self.failures = 0
        """Pushes that were not taken."""
        self._thread = threading.Thread(target=self._serve, name=f"otlp-{watched.vm.name}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self._push()
        while not self._over.wait(self._interval_s):
            self._push()
        self._push()

    def _push(self) -> None:
        data = metrics_data(self._watched, self._figures, self._resource, self._scope, (self._since_ns, time.time_ns()))
        failed = self._exporter.export(data) is not MetricExportResult.SUCCESS
        self.failures += failed
        if failed is not self._failed:
            self._failed = failed
            vm = self._watched.vm.name
            if failed:
                log.warning("metrics not taken", vm=vm, url=self._url)
            else:
                log.info("metrics taken again", vm=vm, url=self._url)

    def stop(self) -> None:
        """Push a last time, and end. Blocks until the VM is read no more, `LAST_S` and a moment at the longest."""
        self._over.set()
        self._thread.join(LAST_S)
        self._exporter.shutdown()  # ends its waiting to try again
        self._thread.join()
