"""The registers of the PL011 by name: Arm DDI 0183, chapter 3 "Programmers Model" (r1p5)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Register(IntEnum):
    """Byte offsets from the base address (table 3-1). Registers are 32 bits apart; the widest is 16 bits."""

    DR = 0x000
    RSR_ECR = 0x004
    """Read: UARTRSR. Written: UARTECR."""
    FR = 0x018
    ILPR = 0x020
    IBRD = 0x024
    FBRD = 0x028
    LCR_H = 0x02C
    CR = 0x030
    IFLS = 0x034
    IMSC = 0x038
    RIS = 0x03C
    MIS = 0x040
    ICR = 0x044
    DMACR = 0x048
    PERIPH_ID0 = 0xFE0
    PERIPH_ID1 = 0xFE4
    PERIPH_ID2 = 0xFE8
    PERIPH_ID3 = 0xFEC
    PCELL_ID0 = 0xFF0
    PCELL_ID1 = 0xFF4
    PCELL_ID2 = 0xFF8
    PCELL_ID3 = 0xFFC


IDENTIFICATION: Final[dict[int, int]] = {
    Register.PERIPH_ID0: 0x11,  # part number 0x011
    Register.PERIPH_ID1: 0x10,  # designer 0x41, Arm
    Register.PERIPH_ID2: 0x34,  # revision r1p5
    Register.PERIPH_ID3: 0x00,
    Register.PCELL_ID0: 0x0D,
    Register.PCELL_ID1: 0xF0,
    Register.PCELL_ID2: 0x05,
    Register.PCELL_ID3: 0xB1,
}

STORED: Final[dict[int, int]] = {
    Register.ILPR: 0xFF,
    Register.IBRD: 0xFFFF,
    Register.FBRD: 0x3F,
    Register.DMACR: 0x07,
}
"""Registers that keep what is written and do nothing here, with the bits they have."""

DR_BE: Final = 1 << 10
DR_OE: Final = 1 << 11
RSR_OE: Final = 1 << 3
RSR_OF_CHARACTER: Final = 0b111
"""Framing, parity and break errors: what UARTRSR says of the character read last."""

FR_CTS, FR_DSR, FR_DCD, FR_BUSY, FR_RXFE, FR_TXFF, FR_RXFF, FR_TXFE, FR_RI = (1 << bit for bit in range(9))

LCR_H_BRK: Final = 1 << 0
LCR_H_FEN: Final = 1 << 4
LCR_H_MASK: Final = 0xFF

CR_UARTEN: Final = 1 << 0
CR_LBE: Final = 1 << 7
CR_TXE: Final = 1 << 8
CR_RXE: Final = 1 << 9
CR_DTR: Final = 1 << 10
CR_RTS: Final = 1 << 11
CR_OUT1: Final = 1 << 12
CR_OUT2: Final = 1 << 13
CR_CTSEN: Final = 1 << 15
CR_MASK: Final = 0xFF87
CR_RESET: Final = CR_RXE | CR_TXE

IFLS_MASK: Final = 0x3F
IFLS_RESET: Final = 0x12

# UARTIMSC, UARTRIS, UARTMIS and UARTICR share their layout; the four modem bits come first.
INT_RI, INT_CTS, INT_DCD, INT_DSR, INT_RX, INT_TX, INT_RT, INT_FE, INT_PE, INT_BE, INT_OE = (1 << bit for bit in range(11))
INT_MASK: Final = 0x7FF

FIFO_DEPTH: Final = 32
"""Since r1p5; before, 16. Drivers tell by the revision in UARTPeriphID2."""
TRIGGER_LEVELS: Final = (4, 8, 16, 24, 28, 16, 16, 16)
"""UARTIFLS: 1/8, 1/4, 1/2, 3/4 and 7/8 of the FIFO; the reserved encodings act as the reset value."""
