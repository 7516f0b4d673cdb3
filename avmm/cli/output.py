"""The guest's console on our standard output, without ever keeping the guest waiting for it."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

_CHUNK = 1 << 16
_REST_S = 0.002


class ConsoleOutput:
    """Bytes for a file descriptor, written by a thread of its own: a terminal may stand still for as long as its user likes.

    `write` takes from any thread. What does not fit `limit` bytes is dropped and counted. When the reader is gone, `on_broken`
    is called once, on the writing thread.

    Guests write character by character, and to wake a thread for each costs them more than all else about it: what comes within
    `rest_s` seconds of the last write waits for the rest of that time, and is written together.
    """

    def __init__(
        self, fd: int | None, on_broken: Callable[[], object], *, limit: int = 16 << 20, rest_s: float = _REST_S
    ) -> None:
        """`fd` None drops everything, and counts nothing."""
        self._fd, self._on_broken, self._limit, self._rest_s = fd, on_broken, limit, rest_s
        self._pending = bytearray()
        self._changed = threading.Condition()
        self._closing = self._broken = self._writing = False
        self.dropped = 0
        """Bytes for which there was no room."""
        self.mid_line = False
        """True when the last byte written did not end a line."""
        self._thread = threading.Thread(target=self._serve, name="console-output", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Have `data` written some time soon. Any thread; never blocks."""
        with self._changed:
            if not data or self._fd is None or self._broken:
                return
            self.mid_line = data[-1] not in b"\r\n"
            room = max(0, self._limit - len(self._pending))
            self.dropped += max(0, len(data) - room)
            self._pending += data[:room]
            if not self._writing:
                self._changed.notify()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is left, for at most `timeout_s` seconds: a terminal that stands still must not keep us."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                while not self._pending and not self._closing:
                    self._changed.wait()
                if not self._pending:
                    return
                self._writing = True
                chunk = bytes(self._pending[:_CHUNK])
                del self._pending[:_CHUNK]
            if not self._write_all(chunk):
                with self._changed:
                    self._broken = True
                    self._pending.clear()
                self._on_broken()
                return
            with self._changed:
                if not self._closing:
                    self._changed.wait(self._rest_s)  # for nobody but close(): as far as write() knows, we are writing

    def _write_all(self, chunk: bytes) -> bool:
        """False when nobody reads any more."""
        assert self._fd is not None
        view = memoryview(chunk)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                # Somebody else made the descriptor non-blocking; it is shared, so it is not ours to change back.
                _wait_writable(self._fd)
            except OSError:
                return False
        return True


def _wait_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
