"""The guests that the engines' contract runs."""

from __future__ import annotations

from enum import Enum

MMIO_ADDRESS = 0x1000_0000
"""Where the guest of `Guest.MMIO` finds registers, in guest physical address space."""


class Guest(Enum):
    """The guests an engine's author writes in the engine's instruction set, for the contract to run."""

    SPIN = "spin"
    """Execute instructions for ever, touching nothing."""
    HALT = "halt"
    """Wait for an interrupt, again and again."""
    MMIO = "mmio"
    """Again and again: read 4 bytes at MMIO_ADDRESS, write that plus 1 as 4 bytes to MMIO_ADDRESS + 4."""
    HYPERCALL = "hypercall"
    """Again and again: a hypercall with immediate 0."""
