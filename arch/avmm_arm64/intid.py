"""Interrupts by their INTIDs (IHI 0069 2.2.1): SGIs and PPIs, which each vCPU has for itself, and SPIs, which all share."""

from __future__ import annotations

from typing import Final

SGI_COUNT: Final = 16
SGI_MASK: Final = (1 << SGI_COUNT) - 1
"""Their bits in a register that has one for each private interrupt."""
FIRST_PPI: Final = 16
LAST_PPI: Final = 31
PRIVATE_COUNT: Final = 32
"""SGIs and PPIs together."""
FIRST_SPI: Final = 32
LAST_SPI: Final = 1019
SPI_COUNT: Final = 256
"""As many as the machine's interrupt controller has."""


def is_ppi(intid: int) -> bool:
    """True for the INTIDs of private peripheral interrupts."""
    return FIRST_PPI <= intid <= LAST_PPI


def is_spi(intid: int) -> bool:
    """True for the INTIDs of shared peripheral interrupts, whether a controller has them or not."""
    return FIRST_SPI <= intid <= LAST_SPI
