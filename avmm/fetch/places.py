"""What can be fetched."""

from __future__ import annotations

SUITES = ("bookworm", "bullseye", "trixie")
"""Debian's releases with a kernel for virtual machines: the first is the default."""
FLAVOURS = ("cloud", "generic")
"""Of Debian's kernel: the one for virtual machines, which is the default, and the one for every machine, with more drivers."""
