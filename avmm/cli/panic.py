"""Noticing on the console that the guest's kernel panicked: a machine sees nothing of it but, perhaps, a reset."""

from __future__ import annotations

from collections.abc import Callable

_MARK = b"Kernel panic - not syncing: "
"""What Linux says of every panic, and why it panicked behind it (kernel/panic.c)."""
_LONGEST = 4096


class PanicWatch:
    """Watches a console's output (`Console.watch`)."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        """`tell` is called with the reason, on the thread that writes to the console, and must not block.

        Not of every panic when there are more than four: a guest can say what it likes, as often as it likes.
        """
        self._tell = tell
        self._line, self._count = b"", 0
        self.reason: str | None = None
        """Why the guest panicked last; None as long as it never did."""

    def __call__(self, data: bytes) -> None:
        """The guest wrote `data`, a character or many."""
        if b"\n" not in data and len(self._line) < _LONGEST:
            self._line += data
            return
        *lines, rest = (self._line + data).split(b"\n")
        for line in lines:
            _, mark, reason = line.partition(_MARK)
            if mark:
                text = reason.strip().decode("ascii", "backslashreplace")
                self.reason = "".join(character if character.isprintable() else "?" for character in text)
                self._count += 1
                if self._count <= 4 or self._count & (self._count - 1) == 0:
                    self._tell(self.reason)
        # A guest that never ends its line is not worth more memory than a line.
        self._line = rest[-_LONGEST:]
