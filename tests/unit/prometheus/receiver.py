"""A receiver of OTLP over HTTP, for a test."""

from __future__ import annotations

import gzip
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Push:
    """What one push brought."""

    def __init__(self, path: str, request: ExportMetricsServiceRequest) -> None:
        (resource,) = request.resource_metrics
        (scope,) = resource.scope_metrics
        self.path = path
        self.resource = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
        self.metrics: dict[str, Metric] = {metric.name: metric for metric in scope.metrics}

    def points(self, name: str) -> dict[tuple[tuple[str, str], ...], NumberDataPoint | HistogramDataPoint]:
        """The points of a metric by their attributes."""
        data = self.metrics[name]
        points = getattr(data, data.WhichOneof("data")).data_points
        return {tuple(sorted((pair.key, pair.value.string_value) for pair in point.attributes)): point for point in points}

    def point(self, name: str, **attributes: str) -> NumberDataPoint | HistogramDataPoint:
        return self.points(name)[tuple(sorted(attributes.items()))]

    def value(self, name: str, **attributes: str) -> float:
        point = self.point(name, **attributes)
        return point.as_int if point.WhichOneof("value") == "as_int" else point.as_double


class Receiver:
    """Where it listens, and what has come."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pushes: queue.Queue[Push] = queue.Queue()
        self.spans: list[Span] = []
        self.statuses: list[int] = []
        """What to answer next; 200 when there is nothing."""

    def take(self, path: str, body: bytes) -> None:
        """Keep what came."""
        if path == "/v1/traces":
            (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        else:
            self.pushes.put(Push(path, ExportMetricsServiceRequest.FromString(body)))

    def next(self) -> Push:
        """Wait for the next push."""
        return self.pushes.get(timeout=60)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Encoding"] == "gzip"
            status = there.statuses.pop(0) if there.statuses else 200
            if status == 200:
                there.take(self.path, gzip.decompress(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
