"""Where what can be made or fetched again is kept for a user."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """$XDG_CACHE_HOME/avmm, or ~/.cache/avmm (XDG Base Directory Specification); RuntimeError for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "avmm"


def translation_cache() -> Path | None:
    """The folder in it for translations of guest code; None for a user without a home."""
    try:
        return user_cache() / "translations"
    except RuntimeError:
        return None
