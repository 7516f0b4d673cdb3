"""Metrics of VMs for Prometheus: plain integers of the core, read when somebody asks and not before."""
