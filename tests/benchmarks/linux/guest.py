"""Debian's kernel, and an initramfs with the loads in it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from avmm.cli.fetch import TerminalProgress
from avmm.fetch.archive import configured_mirror
from avmm.fetch.guest import fetch
from avmm.user_cache import user_cache
from tests.linux.programs import build, initrd_with

SCRIPTS = Path(__file__).parent / "scripts"
PROGRAMS = ("work", "net", "diskio")


@dataclass(frozen=True, slots=True)
class Guest:
    """What is booted on both."""

    kernel: Path
    initrd: Path
    release: str


@contextmanager
def debian() -> Iterator[Guest]:
    """Debian stable's kernel by way of the cache, and an initramfs that lasts as long as the context."""
    cache = Path(os.environ.get("AVMM_TEST_CACHE", user_cache()))
    found = fetch(cache, "bookworm", configured_mirror(), TerminalProgress())
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        programs = {name: build(name, folder) for name in PROGRAMS}
        programs |= {script.stem: script.read_bytes() for script in SCRIPTS.glob("*.sh")}
        yield Guest(found.kernel, initrd_with(found.initrd, programs, folder / "initrd.gz"), found.release)
