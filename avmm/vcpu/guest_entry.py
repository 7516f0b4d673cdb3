"""Into the guest and out of it: the mode, and who must be told (sections "VCPU Mode" and "Ensuring Requests Are Seen")."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from avmm.arch import ArchVcpu
from avmm.clock import Clock
from avmm.engine import VcpuEngine
from avmm.errors import UnhandledRequest
from avmm.exits import HALTED, Exit
from avmm.vcpu.acks import Acknowledgements
from avmm.vcpu.limit import InstructionLimit
from avmm.vcpu.mode import Tracepoint, VcpuMode
from avmm.vcpu.posted import PostedWord
from avmm.vcpu.step import Step
from avmm.vcpu.word import RequestWord


class GuestEntry(RequestWord):
    """The mode of one vCPU, and its way into the guest and out of it.

    Owned by the vCPU's own thread: its task on the event loop, or its slot's thread from handing over to handing back.
    """

    __slots__ = (
        "_guest_thread",
        "_halts",
        "_stay_thread",
        "_task",
        "_task_thread",
        "acks",
        "arch",
        "engine",
        "index",
        "kicked_ns",
        "limit",
        "mode",
        "posted",
        "step",
    )

    arch: ArchVcpu
    engine: VcpuEngine

    def __init__(self, index: int, clock: Clock) -> None:
        super().__init__(clock)
        self.index = index
        self.mode = VcpuMode.OUTSIDE_GUEST_MODE
        self.acks: list[Acknowledgements] = []
        self.kicked_ns = 0
        self.posted: PostedWord | None = None
        self.limit: InstructionLimit | None = None
        """What the vCPU may still execute; None: for ever."""
        self.step: Step | None = None
        """The step that is under way, though the vCPU is paused."""
        self._task: asyncio.Task[object] | None = None
        self._task_thread = 0
        self._guest_thread = 0
        self._stay_thread = 0
        self._halts = False

    # Whose thread is this?

    def in_guest_thread(self) -> bool:
        """True when the calling thread is inside this vCPU's entry: a trap handled in place."""
        return self._guest_thread == threading.get_ident()

    def staying(self) -> bool:
        """True when the calling thread is the slot's on which the vCPU stays between its entries. Own thread."""
        return self._stay_thread == threading.get_ident()

    def in_own_thread(self) -> bool:
        """True when the calling thread is this vCPU's own: its slot's while it stays there, or its task's on the event loop."""
        thread = threading.get_ident()
        if thread in (self._guest_thread, self._stay_thread):
            return True
        if thread != self._task_thread:  # first, for current_task() raises where no event loop runs, and that takes long
            return False
        try:
            return asyncio.current_task() is self._task
        except RuntimeError:  # the event loop is over
            return False

    @contextmanager
    def reading_shadow_page_tables(self) -> Iterator[None]:
        """READING_SHADOW_PAGE_TABLES for the length of a `with`: requests with WAIT wait for its end. Own thread, outside."""
        with self.lock:
            assert self.mode is VcpuMode.OUTSIDE_GUEST_MODE, "page tables are read outside guest mode"
            self.mode = VcpuMode.READING_SHADOW_PAGE_TABLES
        try:
            if self.trace is not None:
                self.trace(Tracepoint.READING, 0)
            yield
        finally:
            self._now_outside()
            if self.trace is not None:
                self.trace(Tracepoint.READ, 0)

    # Into the guest and out.

    def _commit(self) -> bool:
        """Get ready, and publish IN_GUEST_MODE; False, outside as before, when the last look at the requests forbids to enter."""
        trace, posted = self.trace, self.posted
        takes = posted.takes if posted is not None and posted.outstanding else -1
        self.arch.flush_hwstate()
        # local_irq_disable(): kicks that came while we were outside are forgotten, their requests are in plain sight. From
        # here on a kick is latched, and ends the entry that follows.
        self.engine.clear_kick()
        if trace is not None:
            trace(Tracepoint.IRQS_OFF, 0)
        # Commit to entry, then look one last time. Pairs with make_vcpus_request(), which sets the bit before it reads the
        # mode: a requester whose bit we miss here finds IN_GUEST_MODE and sends an IPI. No await from here until the slot
        # has the guest.
        with self.lock:
            self.mode = VcpuMode.IN_GUEST_MODE
        if trace is not None:
            trace(Tracepoint.MODE_IN, 0)
        if self._requests or (self.posted is not None and self.posted.outstanding):
            self._now_outside()
            self.stats.aborted_entries += 1
            if posted is not None and posted.takes == takes:
                raise UnhandledRequest(self.index, "of the posted word")
            if trace is not None:
                trace(Tracepoint.ENTRY_ABORTED, 0)
            return False
        if trace is not None:
            trace(Tracepoint.AFTER_LAST_CHECK, 0)
        return True

    def enter_guest(self, budget: int = 0) -> Exit:
        """Execute guest code on the calling thread until it exits; outside guest mode again on return. For slots."""
        if self.trace is not None:
            self.trace(Tracepoint.ENTRY, 0)
        if self.limit is not None:
            budget = self.limit.budget(budget)
        if self.step is not None:
            budget = self.step.budget(budget)
        self._guest_thread = threading.get_ident()
        stats = self.stats
        reason = -1
        stats.entered_ns = started_ns = self.clock.now_ns()
        if stats.exit_reason >= 0:
            stats.exit_handling[stats.exit_reason].count(started_ns - stats.exited_ns)
        try:
            exit_ = self.engine.enter(budget)
            if self._halts:
                self._halts = False
                exit_ = HALTED
            reason = exit_.reason
        finally:
            self._guest_thread = 0
            now_ns = self.clock.now_ns()
            self._now_outside(now_ns)
            stats.exits += 1
            stats.guest_ns += now_ns - started_ns
            stats.entered_ns = -1  # right behind its sum: see VcpuStats
            stats.exited_ns = now_ns
            stats.exit_reason = reason
            if self.trace is not None:
                self.trace(Tracepoint.EXIT, reason)
        stats.exits_by_reason[reason] += 1
        return exit_

    def _now_outside(self, now_ns: int = 0) -> None:
        """Store OUTSIDE_GUEST_MODE and give the acknowledgements that were asked for until now."""
        with self.lock:
            self.mode = VcpuMode.OUTSIDE_GUEST_MODE
            acks = self.acks
            if acks:
                self.acks = []
            kicked_ns, self.kicked_ns = self.kicked_ns, 0
        for ack in acks:
            self.stats.ipis_acknowledged += 1
            self.stats.request_wait.count((now_ns or self.clock.now_ns()) - ack.since_ns)
            ack.acknowledge()
        if kicked_ns and now_ns:
            self.stats.kick_to_exit.count(now_ns - kicked_ns)

    def reach_guest(self, act: Callable[[], None]) -> bool:
        """Call `act` while the vCPU is in guest mode and cannot leave it; False when it is not. Any thread.

        For what an engine can do to a running guest. `act` must neither block nor make requests.
        """
        with self.lock:
            if self.mode is not VcpuMode.IN_GUEST_MODE:
                return False
            act()
            return True
