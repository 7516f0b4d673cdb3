"""What a fetch tells of its progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told what goes on; called on the fetching thread."""

    def step(self, text: str) -> None:
        """Something begins, or is worth knowing: one line."""

    def begin(self, name: str, size: int | None) -> None:
        """A download begins, of `size` bytes where that is known."""

    def advance(self, size: int) -> None:
        """`size` more bytes of it are here."""

    def end(self) -> None:
        """The download is over, well or not."""
