"""What every test has: the test kit's fixtures, and quiet logs."""

from __future__ import annotations

import logging

import structlog

from avmm.testing.pytest_plugin import scripted_vm, slot

__all__ = ["scripted_vm", "slot"]

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
