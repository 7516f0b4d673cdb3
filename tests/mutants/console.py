"""Mutants of the console's input: what waits for a guest that does not read."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CONSOLE = ("tests/unit/core/test_console.py",)
WRITER = ("tests/unit/core/test_console_writer.py",)
INPUT = ("tests/unit/cli/test_input.py",)

MUTANTS = [
    Mutant(
        "what the device refuses is lost",
        "avmm/console.py",
        "            del waiting[:taken]\n",
        "            del waiting[: len(piece)]\n",
        CONSOLE,
    ),
    Mutant(
        "input waits without a bound",
        "avmm/console.py",
        "while piece := data[taken : taken + self.room]:",
        "while piece := data[taken:]:",
        CONSOLE,
    ),
    Mutant(
        "room is told of when all of it is free",
        "avmm/console.py",
        "len(self._waiting) <= self.LIMIT // 2",
        "not self._waiting",
        CONSOLE,
    ),
    Mutant(
        "a reset of any device forgets what waits",
        "avmm/console.py",
        "        if self._receiver == receiver:\n",
        "        if True:\n",
        CONSOLE,
    ),
    Mutant(
        "a writer passes what waits",
        "avmm/console_writer.py",
        "        self._waiting += data\n",
        "        self._waiting[:0] = data\n",
        WRITER,
    ),
    Mutant(
        "a writer who has left types on",
        "avmm/console_writer.py",
        "        self._closed = True\n        self._waiting.clear()\n",
        "        self._closed = True\n",
        WRITER,
    ),
    Mutant(
        "standard input is read though nobody has room for it",
        "avmm/cli/input.py",
        "        if self._writer.waiting > self._ahead:\n            self._pause()\n        elif",
        "        if",
        INPUT,
    ),
    Mutant(
        "standard input is never read again",
        "avmm/cli/input.py",
        "not self._reading and not self._over and self._writer.waiting <= self._ahead",
        "False",
        INPUT,
    ),
]
