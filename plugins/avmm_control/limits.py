"""How much clients may ask for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server."""

    clients: int = 64
    """Connections at once; a further one is closed."""
    header_bytes: int = 16 * KIB
    """Of a request's line and headers."""
    body_bytes: int = MIB
    message_bytes: int = 64 * KIB
    """Of a WebSocket's message."""
    requests_per_s: float = 200.0
    burst: int = 400
    """Requests at once, after a rest."""
    request_s: float = 10.0
    """How long a request may take to arrive, and how long a connection may keep silent, in seconds."""
    stalled_s: float = 30.0
    """How long a client may leave what it is sent unread, in seconds."""


class Bucket:
    """A token bucket: `rate` a second, `burst` at once. Owned by the event loop."""

    def __init__(self, rate: float, burst: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._now_s = rate, burst, now_s
        self._left, self._at_s = float(burst), now_s()

    def take(self) -> float:
        """Take one; how long to wait for the next, in seconds, 0 when one was there."""
        now_s = self._now_s()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0
