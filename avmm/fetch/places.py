"""What can be fetched, and where it goes."""

from __future__ import annotations

import os
from pathlib import Path

SUITES = ("bookworm", "bullseye", "trixie")
"""Debian's releases with a kernel for virtual machines: the first is the default."""


def default_cache() -> Path:
    """$XDG_CACHE_HOME/avmm, or ~/.cache/avmm (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "avmm"
