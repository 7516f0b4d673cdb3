"""Waiting for acknowledgements (section "Waiting for Acknowledgements")."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator


class Acknowledgements:
    """The IPIs of one request, and the acknowledgements its sender may wait for.

    True when at least one IPI was sent. `await` it on the event loop, or call `wait()` on another thread, to return once every
    vCPU that the request waits for has left guest mode (or stopped reading page tables) since; without WAIT in the request both
    return at once. An acknowledgement does not say that the request was handled.
    """

    __slots__ = ("_lock", "_outstanding", "_watchers", "ipis", "since_ns")

    def __init__(self) -> None:
        self.ipis = 0
        self.since_ns = 0
        """When the first IPI was sent that is to be acknowledged, in nanoseconds of the VM's clock."""
        self._outstanding = 0

    def __bool__(self) -> bool:
        return self.ipis > 0

    @property
    def complete(self) -> bool:
        """True when nothing is left to wait for."""
        return self._outstanding == 0

    def expect(self, now_ns: int) -> None:
        """One more vCPU will acknowledge. Called by the kicker, under that vCPU's lock."""
        if not self.ipis:  # the first: nobody else knows of us yet, and most requests never come here
            self.since_ns = now_ns
            self._lock = threading.Lock()
            self._watchers: list[Callable[[], None]] = []
        self.ipis += 1
        with self._lock:
            self._outstanding += 1

    def acknowledge(self) -> None:
        """One vCPU is out. Called once for each `expect`, on that vCPU's thread."""
        with self._lock:
            self._outstanding -= 1
            if self._outstanding:
                return
            watchers, self._watchers = self._watchers, []
        for tell in watchers:
            tell()

    def _watch(self, tell: Callable[[], None]) -> bool:
        """Have `tell` called when the last acknowledgement comes; False when it has come already."""
        with self._lock:
            if self._outstanding:
                self._watchers.append(tell)
                return True
            return False

    def __await__(self) -> Generator[object, None, bool]:
        if self._outstanding:
            loop = asyncio.get_running_loop()
            done = loop.create_future()

            def resolve() -> None:
                if not done.done():
                    done.set_result(None)

            if self._watch(lambda: _call_unless_closed(loop, resolve)):
                yield from done.__await__()
        return bool(self)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block the calling thread until all have acknowledged; False when `timeout_s` seconds pass first.

        Not for the event loop's thread, which must go on for the acknowledgements to arrive.
        """
        if self._outstanding:
            if _on_an_event_loop():
                raise RuntimeError("wait() would block the event loop: await the acknowledgements instead")
            done = threading.Event()
            if self._watch(done.set):
                return done.wait(timeout_s)
        return True


def _call_unless_closed(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:  # the loop is closed: nobody is left to be told
        pass


def _on_an_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
