"""Metrics of VMs for Prometheus: plain integers of the core, read when somebody asks and not before."""

from avmm_prometheus.instrument import PrometheusInstrument


def create_instrument(setting: str) -> PrometheusInstrument:
    """The instrument for `metrics = "HOST:PORT"`; `:PORT` is every IPv4 interface, port 0 any that is free."""
    return PrometheusInstrument(setting)


__all__ = ["PrometheusInstrument", "create_instrument"]
