"""Frames straight to a connection's socket, from the thread where the driver notifies: no hop by way of the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence

from avmm_virtio.framing import frame_parts, framed, framed_size


class FrameSender:
    """Sends what a stream socket takes at once. Whoever calls `send` calls it alone; the rest is the event loop's."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """`transport` is open. The event loop's thread."""
        self._transport, self._loop = transport, asyncio.get_running_loop()
        self._mutex = threading.Lock()
        # A descriptor of its own: whatever the transport closes, no other file is taken for this socket.
        self._fd = os.dup(transport.get_extra_info("socket").fileno())
        self._tail = b""
        """What the socket did not take of the last frame it took a part of."""

    def send(self, frames: Sequence[bytes]) -> int:
        """Frames for the peer; how many were taken, from the front. Any thread; does not wait.

        None are while anything older waits in the transport, which the peer gets first.
        """
        with self._mutex:
            if self._fd < 0 or self._tail or self._transport.is_closing() or self._transport.get_write_buffer_size():
                return 0
            try:
                sent = os.writev(self._fd, frame_parts(frames))
            except OSError:
                return 0  # no room, or lost: the transport finds out
            taken = 0
            while sent > 0:
                sent -= framed_size(frames[taken])
                taken += 1
            if sent < 0:
                self._tail = framed(frames[taken - 1 : taken])[sent:]
                self._loop.call_soon_threadsafe(self.flush)
            return taken

    def flush(self) -> None:
        """Hand the transport what is left of a frame: before it is given anything else. The event loop's thread."""
        with self._mutex:
            tail, self._tail = self._tail, b""
            if tail and not self._transport.is_closing():
                self._transport.write(tail)

    def close(self) -> None:
        """The connection is lost: nothing is taken any more."""
        with self._mutex:
            os.close(self._fd)
            self._fd = -1
