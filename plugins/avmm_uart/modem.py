"""The modem lines of the PL011 (Arm DDI 0183, "Modem operation")."""

from __future__ import annotations

from typing import Final

from avmm_uart.registers import (
    CR_DTR,
    CR_LBE,
    CR_OUT1,
    CR_OUT2,
    CR_RTS,
    FR_CTS,
    FR_DCD,
    FR_DSR,
    FR_RI,
    INT_CTS,
    INT_DCD,
    INT_DSR,
    INT_RI,
)

MODEM: Final = {FR_RI: INT_RI, FR_CTS: INT_CTS, FR_DCD: INT_DCD, FR_DSR: INT_DSR}
"""The interrupt that tells of a change of each modem input."""

LOOPED: Final = {CR_RTS: FR_CTS, CR_DTR: FR_DSR, CR_OUT1: FR_DCD, CR_OUT2: FR_RI}
"""The modem input that each modem output is fed to in loopback."""

MODEM_FLAGS: Final = sum(MODEM)

_PEER = FR_CTS | FR_DSR | FR_DCD
"""The modem inputs, as a terminal that is switched on and ready holds them."""


def modem_inputs(cr: int) -> int:
    """UARTFR's modem bits, which read 1 for an asserted line; in loopback they are the outputs (UARTCR.LBE)."""
    if not cr & CR_LBE:
        return _PEER
    return sum(flag for output, flag in LOOPED.items() if cr & output)
