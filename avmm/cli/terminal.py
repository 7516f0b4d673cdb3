"""The user's terminal: the guest gets every key of it, and the user gets it back as it was."""

from __future__ import annotations

import os
import termios
from contextlib import suppress
from types import TracebackType

_IFLAG, _LFLAG, _CC = 0, 3, 6


class RawTerminal:
    """A context manager: a terminal gives every key as it is typed, Ctrl-C included, and echoes nothing.

    Output processing stays on, so that lines of our own look right. What is no terminal is left as it is.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._before: list[int | list[bytes | int]] | None = None

    @property
    def raw(self) -> bool:
        """True while the terminal is raw."""
        return self._before is not None

    @property
    def fd(self) -> int | None:
        """The file descriptor to read; None when there is none, or it is a terminal that another job has in the foreground."""
        return None if self._fd is None or (os.isatty(self._fd) and not self.raw) else self._fd

    def __enter__(self) -> RawTerminal:
        if self._fd is None or not _in_foreground(self._fd):
            return self
        self._before = termios.tcgetattr(self._fd)
        self.again()
        return self

    def again(self) -> None:
        """Make the terminal raw once more: while we were stopped, the shell had it its own way."""
        if self._before is None or self._fd is None or not _in_foreground(self._fd):
            return
        raw = termios.tcgetattr(self._fd)
        _clear(raw, _IFLAG, termios.BRKINT | termios.ICRNL | termios.IGNCR | termios.INLCR | termios.ISTRIP | termios.IXON)
        _clear(raw, _LFLAG, termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN | termios.ISIG)
        control = raw[_CC]
        assert isinstance(control, list)
        control[termios.VMIN], control[termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSANOW, raw)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        before, self._before = self._before, None
        if before is not None and self._fd is not None:
            # A terminal that has gone away needs no restoring.
            with suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, before)


def _in_foreground(fd: int) -> bool:
    """True for a terminal that this process may read; a background job that touched it would be stopped."""
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        # A terminal that is not our controlling one has no foreground job of ours: it is read freely.
        return os.isatty(fd)


def _clear(attributes: list[int | list[bytes | int]], index: int, flags: int) -> None:
    value = attributes[index]
    assert isinstance(value, int)
    attributes[index] = value & ~flags
