"""Mutants of the serial port (PL011), the clock (PL031) and the GPIO controller (PL061)."""

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
        "a write to GPIODATA is about all pins",
        "plugins/avmm_gpio/pl061.py",
        "mask = 0 if offset & 3 else offset >> 2 & self._dir",
        "mask = 0 if offset & 3 else self._dir",
        ("tests/unit/test_pl061.py",),
    ),
    Mutant(
        "an input pin takes the value written",
        "plugins/avmm_gpio/pl061.py",
        "mask = 0 if offset & 3 else offset >> 2 & self._dir",
        "mask = 0 if offset & 3 else offset >> 2",
        ("tests/unit/test_pl061.py",),
    ),
    Mutant(
        "an edge that is cleared is masked instead",
        "plugins/avmm_gpio/pl061.py",
        "                self._edges &= ~value\n",
        "                self._mask &= ~value\n",
        ("tests/unit/test_pl061.py",),
    ),
    Mutant(
        "the chosen edge counts alone even where both do",
        "plugins/avmm_gpio/pl061.py",
        "changed & (self._both | ~(self.lines ^ self._rising))",
        "changed & ~(self.lines ^ self._rising)",
        ("tests/unit/test_pl061.py",),
    ),
    Mutant(
        "the line of an output interrupts",
        "plugins/avmm_gpio/pl061.py",
        "(before ^ self.lines) & ~self._dir & ~self._level",
        "(before ^ self.lines) & ~self._level",
        ("tests/unit/test_pl061.py",),
    ),
    Mutant(
        "a level that ends stays",
        "plugins/avmm_gpio/pl061.py",
        "        return self._edges & ~self._level | levels & self._level\n",
        "        self._edges |= levels & self._level\n        return self._edges\n",
        ("tests/unit/test_pl061.py",),
    ),
    Mutant(
        "the power button is let go of before the guest has looked",
        "plugins/avmm_gpio/device.py",
        "        self.model.set_line(POWER_BUTTON, high=True)\n",
        "        self.model.set_line(POWER_BUTTON, high=True)\n"
        "        self._release = self._clock.call_at(self._clock.now_ns() + HELD_NS, self._due)\n",
        ("tests/unit/test_pl061.py",),
    ),
    Mutant(
        "a look at other pins is one at the power button",
        "plugins/avmm_gpio/device.py",
        "pressed and offset < 0x400 and value & pressed",
        "pressed and offset < 0x400",
        ("tests/unit/test_pl061.py",),
    ),
    Mutant(
        "a reset holds the power button",
        "plugins/avmm_gpio/device.py",
        "        self._let_go()\n        self.model.reset()\n",
        "        self.model.reset()\n",
        ("tests/unit/test_pl061.py",),
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
