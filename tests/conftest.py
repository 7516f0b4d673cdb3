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
from avmm.user_cache import user_cache

__all__ = ["scripted_vm"]

logging.getLogger(LOGGER).setLevel(logging.CRITICAL)

# The same examples at every run, and no limit that depends on how busy the machine is.
settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fixed")

# Mutants make tests wait for what never comes: they are given less time for it.
scripted.WATCHDOG_S = float(os.environ.get("AVMM_TEST_WATCHDOG_S", scripted.WATCHDOG_S))


@pytest.fixture(scope="session", autouse=True)
def empty_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Runs keep translations for each other, but none for another run of the tests. What is fetched once is not fetched again."""
    os.environ.setdefault("AVMM_TEST_CACHE", str(user_cache()))
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


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
