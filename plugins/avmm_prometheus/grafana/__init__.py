"""The dashboards, as code: `python -m avmm_prometheus.grafana` writes the JSON that is in the package's data.

Needs the `grafana-foundation-sdk`, which users of the dashboards do not.
"""
