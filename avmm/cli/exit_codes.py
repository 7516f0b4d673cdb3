"""What the command line exits with. Part of its interface: scripts rely on it.

A guest that gives an exit status of its own (through a test device, say) and not 0 is quoted: its status is the command's.
"""

from __future__ import annotations

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of `avmm`."""

    OK = 0
    """The guest powered off, the user quit with Ctrl-A x, or the command did what it was asked."""
    ERROR = 1
    """One line on stderr says what: a mistake in the description, an image that cannot be loaded, a plugin, a failed VM."""
    USAGE = 2
    """The command line itself is wrong."""
    CRASHED = 3
    """The guest crashed, its kernel panicked and reset the machine, or the engine cannot go on with it."""
    RESET = 4
    """The guest asked for a reset, and the machine says `on_reset = "exit"`."""
    HANGUP = 128 + signal.SIGHUP
    """The terminal went away."""
    INTERRUPTED = 128 + signal.SIGINT
    BROKEN_PIPE = 128 + signal.SIGPIPE
    """Nobody reads the guest's console any more."""
    TERMINATED = 128 + signal.SIGTERM
