"""Ctrl-A: how to talk to avmm, and not to the guest, on a terminal whose every key belongs to the guest."""

from __future__ import annotations

from enum import Enum

ESCAPE = 0x01
"""Ctrl-A."""

HELP = """\
Ctrl-A h       this help
Ctrl-A x       quit: the machine is switched off at once
Ctrl-A p       press the power button: the guest is asked to shut down
Ctrl-A s       live statistics, on and off
Ctrl-A Ctrl-A  send Ctrl-A to the guest
"""


class Command(Enum):
    """What a key after Ctrl-A means."""

    HELP = b"h"
    QUIT = b"x"
    POWER_BUTTON = b"p"
    STATISTICS = b"s"


class EscapeFilter:
    """Takes commands out of what is typed. Ctrl-A and its key may arrive in different reads."""

    def __init__(self) -> None:
        self._escaped = False

    def feed(self, typed: bytes) -> list[bytes | Command]:
        """What to do, in order: send bytes to the guest, or carry out a command. Other keys after Ctrl-A are nothing."""
        actions: list[bytes | Command] = []
        plain = bytearray()
        for byte in typed:
            if not self._escaped and byte == ESCAPE:
                self._escaped = True
            elif not self._escaped or byte == ESCAPE:
                self._escaped = False
                plain.append(byte)
            else:
                self._escaped = False
                if (key := bytes((byte,)).lower()) in _KEYS:
                    if plain:
                        actions.append(bytes(plain))
                        plain.clear()
                    actions.append(Command(key))
        if plain:
            actions.append(bytes(plain))
        return actions


_KEYS = frozenset(command.value for command in Command)
