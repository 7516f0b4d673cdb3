"""A VM with its page, on an event loop of a thread of its own: the test's thread is the browser's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from avmm.config import MachineConfig
from avmm.testing import ScriptedVm
from avmm.vm import Vm
from avmm_control.ui.instrument import UiInstrument
from avmm_control.ui.live import Live

T = TypeVar("T")
GUEST = Path(__file__).parents[2] / "examples/guests/images/smp.img"
DEADLINE_S = 120.0
"""After this a browser or a machine is taken to hang. Nothing waits for it to pass."""


def ticking(vcpus: int, ui: UiInstrument, append: str = "quiet") -> Vm:
    """A real guest: timer ticks on every vCPU, and an SGI to the next one at each. What it has said stays on the screen."""
    config = MachineConfig(name="ticks", kernel=GUEST, append=f"seconds=600 {append}", vcpus=vcpus, memory="64M")
    return Vm(config, instruments=[ui])


class Machine:
    """Runs `make(instrument)` from entering the `with` to leaving it, unless it ends before."""

    def __init__(self, make: Callable[[UiInstrument], Vm], setting: str = "127.0.0.1:0") -> None:
        self.ui = UiInstrument(setting)
        self._make = make
        self._ready, self._leave = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="machine")
        self.vm: Vm
        self._loop: asyncio.AbstractEventLoop

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            async with self._make(self.ui) as self.vm:
                await self.vm.start()
                self._ready.set()
                over = asyncio.create_task(self.vm.halted())
                await asyncio.wait({over, asyncio.create_task(self._leave.wait())}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ready.set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def do(self, work: Coroutine[object, object, T]) -> T:
        """Await `work` on the machine's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def call(self, work: Callable[[], T]) -> T:
        """Call `work` on the machine's loop."""

        async def called() -> T:
            return work()

        return self.do(called())

    def prints(self, text: str | bytes) -> None:
        """The guest writes on its console."""
        self.vm.console.write(text if isinstance(text, bytes) else text.encode())

    @property
    def live(self) -> Live:
        """What feeds the pages."""
        server = self.ui._joined[self.vm.name]
        found = server._lives[self.vm.name]  # type: ignore[attr-defined]
        assert isinstance(found, Live)
        return found

    def until(self, predicate: Callable[[], object]) -> None:
        """Wait until `predicate()` holds, seen after every look of the live stream: while a page is connected."""

        async def seen() -> None:
            live, holds = self.live, asyncio.Event()
            look = live.look

            def look_and_see() -> None:
                look()
                if predicate():
                    holds.set()

            live.look = look_and_see  # type: ignore[method-assign]
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await holds.wait()
            finally:
                live.look = look  # type: ignore[method-assign]

        self.do(seen())

    def cut(self) -> None:
        """Break every connection, as a network does."""
        server = self.ui._joined[self.vm.name]

        def abort() -> None:
            for connection in tuple(server._server.server_state.connections):  # type: ignore[attr-defined]
                connection.transport.abort()

        self.call(abort)


def scripted(*programs: object, **settings: object) -> Callable[[UiInstrument], Vm]:
    """A scripted guest."""
    return lambda ui: ScriptedVm(*programs, slot="thread", instruments=[ui], **settings)  # type: ignore[arg-type]
