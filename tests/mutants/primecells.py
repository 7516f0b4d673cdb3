"""Mutants of the serial port (PL011) and the clock (PL031)."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = [
    Mutant(
        "FIFOs are as deep as before r1p5",
        "plugins/avmm_uart/registers.py",
        "FIFO_DEPTH: Final = 32\n",
        "FIFO_DEPTH: Final = 16\n",
        ("tests/unit/test_pl011.py",),
    ),
    Mutant(
        "a character beyond the trigger level is needed",
        "plugins/avmm_uart/pl011.py",
        "INT_RX if len(fifo) >= self._receive_trigger() else 0",
        "INT_RX if len(fifo) > self._receive_trigger() else 0",
        ("tests/unit/test_pl011.py",),
    ),
    Mutant(
        "an overrun marks every character",
        "plugins/avmm_uart/pl011.py",
        "        self._overrun = False\n        self.received += 1\n",
        "        self.received += 1\n",
        ("tests/unit/test_pl011.py",),
    ),
    Mutant(
        "a break lasts",
        "plugins/avmm_uart/pl011.py",
        "        if self._breaking and not before:\n",
        "        if self._breaking:\n",
        ("tests/unit/test_pl011.py",),
    ),
    Mutant(
        "the receive status is that of every character so far",
        "plugins/avmm_uart/pl011.py",
        "registers[Register.RSR_ECR] & RSR_OE | character",
        "registers[Register.RSR_ECR] | character",
        ("tests/unit/test_pl011.py",),
    ),
    Mutant(
        "a match of the clock comes again half a time around",
        "plugins/avmm_rtc/pl031.py",
        "            self._match_ns += NS_PER_S << 32  # once around\n",
        "            self._match_ns += NS_PER_S << 31\n",
        ("tests/unit/test_pl031.py",),
    ),
    Mutant(
        "a load leaves the match where it was",
        "plugins/avmm_rtc/pl031.py",
        "                if self._match_ns is not None:\n",
        "                if False:\n",
        ("tests/unit/test_pl031.py",),
    ),
]
