"""The instrument: sends a VM's life as spans, from its start to its end."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from avmm.plugin import ObservedVm, get_logger
from avmm_prometheus.elsewhere import elsewhere
from avmm_prometheus.otlp.life import Life
from avmm_prometheus.otlp.receiver import LAST_S, installed_version, receiver_url, resource

PATH = "/v1/traces"
"""Where receivers take spans (OTLP/HTTP): used when a setting names no path."""

log = get_logger()


class _Exporter(OTLPSpanExporter):
    """Says once that spans are not taken, and once that they are taken again."""

    def __init__(self, url: str, vm: str) -> None:
        super().__init__(url, compression=Compression.Gzip)
        self._where = {"vm": vm, "url": url}
        self._failed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed is not self._failed:
            self._failed = failed
            if failed:
                log.warning("spans not taken", **self._where)
            else:
                log.info("spans taken again", **self._where)
        return result


class _Watching:
    """One VM, and the way its spans go."""

    def __init__(self, vm: ObservedVm, url: str) -> None:
        self._exporter = _Exporter(url, vm.name)
        self._provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        carrier = {name.lower(): value for name, value in os.environ.items() if name in ("TRACEPARENT", "TRACESTATE")}
        self.life = Life(vm, self._provider.get_tracer("avmm", installed_version()), carrier)

    def close(self) -> None:
        """Send what is left, `LAST_S` and a moment at the longest. Blocks."""
        limit = threading.Timer(LAST_S, self._exporter.shutdown)  # ends its waiting to try again
        limit.start()
        self._provider.shutdown()
        limit.cancel()
        limit.join()


class SpansInstrument:
    """Sends a span for each VM it watches to `url`, with one below it for each stay in a state.

    Headers, certificates and time-outs come from the environment, as OpenTelemetry has them; a `TRACEPARENT` there (W3C Trace
    Context) makes the VM's span a part of that trace.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._watching: dict[str, _Watching] = {}

    async def start(self, vm: ObservedVm) -> None:
        """Begin `vm`'s span. A receiver that is not there is one warning."""
        self._watching[vm.name] = _Watching(vm, self.url)
        log.info("spans sent", vm=vm.name, url=self.url)

    async def stop(self, vm: ObservedVm) -> None:
        """End `vm`'s span, and send what has not been sent."""
        watching = self._watching.pop(vm.name)
        watching.life.end()
        await elsewhere(watching.close)


def create_instrument(setting: str) -> SpansInstrument:
    """The instrument for `spans = "URL"`; ConfigError when it is none."""
    return SpansInstrument(receiver_url(setting, PATH, key="spans"))
