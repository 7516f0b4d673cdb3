"""The live stream of one VM: looks at it ten times a second while a page wants to know, and hands each page what it can take.

A page acknowledges what it has shown. One that does not keep up misses looks and then gets the newest; nothing waits for it and
nothing piles up for it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from contextlib import suppress

from avmm.plugin import SteeredVm
from avmm_control.transcript import ConsoleLog
from avmm_control.ui import frames
from avmm_control.ui.frames import Frames
from avmm_control.ui.lanes import LaneRecorder
from avmm_control.ui.page import Page

INTERVAL_S = 0.02
"""How often a page is sent what is new of the console's output, in seconds."""
LOOK_EVERY = 5
"""Every so many times it is also told of the vCPUs: ten times a second."""
PANELS_EVERY, MACHINE_EVERY = 2, 5
"""Every so many looks tell of the slower parts."""
FAREWELL_S = 1.0
"""How long the VM's end waits for pages to hear of it, in seconds."""


class Live:
    """All pages of one VM. Owned by the event loop."""

    def __init__(self, vm: SteeredVm, console: ConsoleLog) -> None:
        self.vm, self._console = vm, console
        self._recorder = LaneRecorder(vm)
        self._pages: set[Page] = set()
        self._loop = asyncio.get_running_loop()
        self._ticks = self._looks = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ended = ""
        self.session = secrets.token_hex(8)
        """Tells this run from another at the same address: places in the console's output are of this one."""

    @property
    def pages(self) -> int:
        """How many pages are connected."""
        return len(self._pages)

    def join(self, place: int) -> Page:
        """A page that is sent what happens from now on, and the console's output from `place` on."""
        page = Page(self._console, place)
        page.tell(frames.hello(self.vm, self.session, round(INTERVAL_S * LOOK_EVERY * 1000)))
        self._pages.add(page)
        if self._ended:
            page.end(self._ended)
        elif self._timer is None:
            self._ticks = 0
            self._tick()
        return page

    def leave(self, page: Page) -> None:
        """Send it nothing more. The last to leave ends the recording."""
        page.gone.set()
        self._pages.discard(page)
        if not self._pages:
            self._stop()

    def look(self) -> None:
        """Look at the vCPUs, and tell the pages that can take it."""
        ready = [page for page in self._pages if page.ready]
        if ready:
            self._recorder.watch(self._watched(ready))
            self._tell(ready)

    async def end(self) -> None:
        """The VM is over: tell the pages how, and wait a moment for them to hear it."""
        self._tell(self._pages)
        self._stop()
        self._ended = frames.end(self.vm.halt)
        pages = tuple(self._pages)
        for page in pages:
            page.end(self._ended)
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                for page in pages:
                    await page.gone.wait()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(INTERVAL_S, self._tick)
        for page in self._pages:
            page.pour()
        if self._ticks % LOOK_EVERY == 0:
            self.look()
        self._ticks += 1

    def _tell(self, pages: Iterable[Page]) -> None:
        self._looks += 1
        panels, machine = self._looks % PANELS_EVERY == 1, self._looks % MACHINE_EVERY == 1
        made = Frames(self.vm, self._recorder.look(), self._looks, panels=panels, machine=machine)
        for page in pages:
            page.offer(made.frame(page.first, page.selected))

    def _watched(self, pages: Iterable[Page]) -> list[int]:
        wanted = {index for page in pages for index in range(page.first, page.first + frames.LANES)}
        return sorted(wanted.intersection(range(len(self.vm.vcpus))))

    def _stop(self) -> None:
        self._recorder.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
