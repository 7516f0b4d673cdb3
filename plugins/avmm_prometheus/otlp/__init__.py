"""The same metrics, pushed: OpenTelemetry's protocol (OTLP) over HTTP."""
