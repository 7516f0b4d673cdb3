"""Debian's kernel, fetched once; and guests that run it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from avmm.errors import FetchError
from avmm.fetch.archive import configured_mirror
from avmm.fetch.guest import Guest, fetch
from avmm.user_cache import user_cache
from tests.linux.console import PATIENCE_S, Console, running
from tests.linux.programs import build, initrd_with
from tests.unit.fetch.mirror import Told

PATIENT = f"watchdog_thresh={PATIENCE_S // 2} rcupdate.rcu_cpu_stall_timeout={PATIENCE_S}"
"""Linux complains of a CPU that does one thing for 20 s, as it may on a busy host; so not before a test is out of patience."""
PROGRAMS = ("together", "perf", "clock", "vsock", "diskio")


@dataclass(frozen=True, slots=True)
class Linux:
    """A kernel, and an initramfs with our programs in it."""

    kernel: Path
    initrd: Path
    release: str

    def boot(self, *options: str, append: str = "") -> AbstractAsyncContextManager[Console]:
        """`avmm run` with it."""
        files = ("--kernel", str(self.kernel), "--initrd", str(self.initrd))
        return running(*files, "--memory", "512M", "--append", f"console=ttyAMA0 {PATIENT} {append}", *options)


Fetcher = Callable[..., Linux]


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Fetcher:
    """`fetched("bookworm", "cloud")`: a kernel of a Debian release. Skips, and says so loudly, where there is no archive."""
    guests: dict[tuple[str, str], Linux] = {}
    cache = Path(os.environ.get("AVMM_TEST_CACHE", user_cache()))

    def get(suite: str, flavour: str = "cloud") -> Linux:
        if (suite, flavour) not in guests:
            folder = tmp_path_factory.mktemp(suite)
            guest = _fetch(cache, suite, flavour)
            programs = {name: build(name, folder) for name in PROGRAMS}
            guests[suite, flavour] = Linux(guest.kernel, initrd_with(guest.initrd, programs, folder / "initrd.gz"), guest.release)
        return guests[suite, flavour]

    return get


def _fetch(cache: Path, suite: str, flavour: str) -> Guest:
    try:
        return fetch(cache, suite, configured_mirror(), Told(), flavour=flavour)
    except FetchError as error:
        if "is there a network?" not in str(error):
            raise
        warnings.warn(f"NO LINUX GUEST WAS TESTED: {error}", stacklevel=1)
        pytest.skip(f"no archive, no Linux: {error}")


@pytest.fixture(scope="session")
def linux(fetched: Fetcher) -> Linux:
    """Debian stable's kernel."""
    return fetched("bookworm")
