"""What can be fetched."""

from __future__ import annotations

SUITES = ("bookworm", "bullseye", "trixie")
"""Debian's releases with a kernel for virtual machines: the first is the default."""
