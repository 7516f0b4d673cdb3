"""Where the memory is that files are loaded into."""

from __future__ import annotations

RAM, SIZE = 0x4000_0000, 4 << 20
AARCH64, X86_64 = 183, 62
"""e_machine of ELF files."""
