"""What every test has: the test kit's fixtures, quiet logs, and examples that stay the same."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from avmm.log import LOGGER
from avmm.testing import vm as scripted
from avmm.testing.pytest_plugin import scripted_vm

__all__ = ["scripted_vm"]

logging.getLogger(LOGGER).setLevel(logging.CRITICAL)

# The same examples at every run, and no limit that depends on how busy the machine is.
settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fixed")

# Mutants make tests wait for what never comes: they are given less time for it.
scripted.WATCHDOG_S = float(os.environ.get("AVMM_TEST_WATCHDOG_S", scripted.WATCHDOG_S))


@pytest.fixture(params=["inline", "thread"])
def slot(request: pytest.FixtureRequest) -> str:
    """Both kinds of slot, one after the other."""
    return str(request.param)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
