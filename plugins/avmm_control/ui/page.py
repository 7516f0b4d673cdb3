"""One connected page: what it was sent, what it has shown, and what waits for it: one frame and one piece of output at most."""

from __future__ import annotations

import asyncio

from avmm_control.transcript import ConsoleLog

PIECE = 8 << 10
"""Bytes of the console's output in one message."""
FRAMES_AHEAD = 3
"""Messages a page may be behind and still be sent a frame."""
OUTPUT_AHEAD = 8
"""Messages a page may be behind and still be sent a piece of output."""


class Page:
    """Owned by the event loop."""

    def __init__(self, console: ConsoleLog, place: int = 0) -> None:
        """`place` is where the page's copy of the console's output ends."""
        self.first = self.selected = 0
        """The first vCPU that it shows a lane of, and the one that it shows closely."""
        self.gone = asyncio.Event()
        """Set once nothing more is sent to it."""
        self._console, self._place = console, place
        self._news = asyncio.Event()
        self._sent = self._shown = 0
        self._hello = self._frame = self._last = ""
        self._piece = b""
        self._over = False

    # What the VM's side does.

    @property
    def ready(self) -> bool:
        """True when it has room for a frame."""
        return not self._frame and self._sent - self._shown < FRAMES_AHEAD

    def tell(self, hello: str) -> None:
        """Have the first message sent."""
        self._hello = hello
        self._news.set()

    def offer(self, frame: str) -> None:
        """Have `frame` sent, in place of one that still waits."""
        self._frame = frame
        self._news.set()

    def pour(self) -> None:
        """Have the next piece of the console's output sent, if there is one and the page has room for it."""
        if not self._piece and self._sent - self._shown < OUTPUT_AHEAD and self._draw():
            self._news.set()

    def end(self, last: str) -> None:
        """Have the rest of the output sent, then `last`, then nothing."""
        self._last = last
        self._news.set()

    # What the connection does.

    def shown(self, messages: int) -> bool:
        """It has shown so many messages in all; False when that cannot be."""
        if not self._shown <= messages <= self._sent:
            return False
        self._shown = messages
        if self._last:
            self._news.set()
        return True

    async def next(self) -> str | bytes | None:
        """Wait for the next message; None when there is none any more."""
        while not self._over:
            self._news.clear()
            message = self._take()
            if message:
                self._sent += 1
                return message
            await self._news.wait()
        return None

    def _take(self) -> str | bytes:
        if self._hello:
            message, self._hello = self._hello, ""
            return message
        if self._frame:
            message, self._frame = self._frame, ""
            return message
        if not self._piece and self._last and self._sent - self._shown < OUTPUT_AHEAD:
            self._over = not self._draw()
            if self._over:
                return self._last
        piece, self._piece = self._piece, b""
        return piece

    def _draw(self) -> bool:
        """Take the next piece of output behind its place (8 bytes, big-endian); False when there is none."""
        data, end = self._console.since(self._place, PIECE)
        self._place = end
        if data:
            self._piece = (end - len(data)).to_bytes(8, "big") + data
        return bool(data)
