"""How any thread wakes a coroutine on the event loop."""

from __future__ import annotations

import asyncio


class Wakeup:
    """Set by any thread, waited for by one coroutine. However often it was set meanwhile, one `wait` takes it all."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self._set = False

    def set(self) -> None:
        """End the present `wait`, or else the next. Any thread, with the device lock held; costs nothing while it is set."""
        if not self._set:
            self._set = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Until it is set. Event loop's thread. What was set up to its end is taken: look at the queues afterwards."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            # The loop first, the flag second: a set() that saw no loop has left the flag.
            if self._set:
                self._event.set()
        try:
            await self._event.wait()
        except asyncio.CancelledError:
            self._loop = None  # which may be closed when the next one waits
            raise
        self._event.clear()
        # Cleared before the caller looks at what there is to do; whatever comes later sets it anew.
        self._set = False
