"""Sleeping: halted until there is something to run for, or off until somebody says so (section "Sleeping VCPUs")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import sleep as give_way
from typing import TYPE_CHECKING

from avmm.vcpu.mode import Tracepoint
from avmm.vcpu.requests import UNHALT, Request
from avmm.vcpu.waitqueue import ThreadWaiter, WaitQueue

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu


class HaltPoll:
    """Poll a while before sleeping (halt polling). Off while `max_ns` is 0; the window adapts between 0 and `max_ns`.

    Linux, Documentation/virt/kvm/halt-polling.rst, with grow 2, grow start 10 us and shrink to 0.
    """

    GROW = 2
    GROW_START_NS = 10_000

    def __init__(self, max_ns: int = 0, window_ns: int = 0) -> None:
        self.max_ns, self.window_ns = max_ns, window_ns

    def adapt(self, halted_ns: int) -> None:
        """Grow or shrink the window after a halt that took `halted_ns` in all."""
        if not self.max_ns:
            self.window_ns = 0
        elif halted_ns <= self.window_ns:
            pass
        elif self.window_ns and halted_ns > self.max_ns:
            self.window_ns = 0
        elif self.window_ns < self.max_ns and halted_ns < self.max_ns:
            self.window_ns = min(self.max_ns, self.window_ns * self.GROW or self.GROW_START_NS)


class Sleep:
    """How one vCPU sleeps. Everything but the queue's `take` and `resume` belongs to the vCPU's task."""

    __slots__ = ("_vcpu", "halted", "queue")

    def __init__(self, vcpu: Vcpu) -> None:
        self._vcpu = vcpu
        self.queue = WaitQueue()
        self.halted = False
        """True while the guest waits for an interrupt."""

    async def halt(self, deadline_ns: int | None = None) -> bool:
        """Wait until the vCPU has something to run for, polling first if it may; True if it slept (kvm_vcpu_halt)."""
        vcpu, clock = self._vcpu, self._vcpu.clock
        started_ns = clock.now_ns()
        vcpu.stats.halts += 1
        waited, self.halted = False, True
        try:
            if not await self._poll(started_ns):
                waited = await self.block(deadline_ns)
        finally:
            self.halted = False
        halted_ns = clock.now_ns() - started_ns
        if waited:
            vcpu.stats.halt_wait.count(halted_ns)
        if vcpu.halt_poll.max_ns:
            vcpu.halt_poll.adapt(halted_ns)
        if vcpu.trace is not None:
            vcpu.trace(Tracepoint.WAKEUP, 0)
        return waited

    async def block(self, deadline_ns: int | None = None) -> bool:
        """Sleep until the vCPU has something to run for; True if it slept (kvm_vcpu_block)."""
        vcpu, clock = self._vcpu, self._vcpu.clock
        over = self.must_stop_blocking
        if deadline_ns is not None:

            def over() -> bool:
                return self.must_stop_blocking() or clock.now_ns() >= deadline_ns

        timer = None if deadline_ns is None or vcpu.staying() else clock.call_at(deadline_ns, self._wake_up)
        vcpu.arch.blocking()
        try:
            return await self._wait_until(over, deadline_ns)
        finally:
            if timer is not None:
                timer.cancel()
            vcpu.arch.unblocking()

    def _wake_up(self) -> None:
        self._vcpu.wake_up()

    def runnable(self) -> bool:
        """True when the vCPU may run and has something to run for."""
        vcpu = self._vcpu
        return not vcpu.powered_off and not self._kept() and vcpu.arch.runnable()

    def _kept(self) -> bool:
        """True when the vCPU is paused, and not to execute a step meanwhile."""
        return self._vcpu.paused and self._vcpu.step is None

    def must_stop_blocking(self) -> bool:
        """Look at what ends a block, in the kernel's order; UNHALT is made only for the first (kvm_vcpu_check_block)."""
        vcpu = self._vcpu
        if self.runnable():
            vcpu.make_request(UNHALT)
            return True
        if vcpu.arch.pending_timer():
            return True
        if vcpu.recalled:
            return True
        return vcpu.request_pending() and (vcpu.check_request(Request.UNBLOCK) or vcpu.test_request(Request.VM_DEAD))

    async def while_off(self) -> None:
        """Sleep as long as the vCPU is powered off or paused; the VM's end ends that too (kvm_vcpu_sleep)."""
        vcpu = self._vcpu
        await self._wait_until(lambda: not (vcpu.powered_off or self._kept()) or vcpu.test_request(Request.VM_DEAD))

    async def _poll(self, started_ns: int) -> bool:
        """Look again and again for as long as the window allows; True when the halt is over."""
        vcpu = self._vcpu
        window_ns = vcpu.halt_poll.window_ns
        if not window_ns or not vcpu.clock.is_host:  # virtual time stands still while we look: the window would never end
            return False
        vcpu.stats.halt_attempted_poll += 1
        while True:
            if vcpu.trace is not None:
                vcpu.trace(Tracepoint.POLL, 0)
            if self.must_stop_blocking():
                vcpu.stats.halt_successful_poll += 1
                vcpu.stats.halt_poll_success_ns += vcpu.clock.now_ns() - started_ns
                return True
            polled_ns = vcpu.clock.now_ns() - started_ns
            if polled_ns >= window_ns:
                vcpu.stats.halt_poll_fail_ns += polled_ns
                return False
            if vcpu.staying():
                give_way(0)
            else:
                await asyncio.sleep(0)

    async def _wait_until(self, over: Callable[[], bool], deadline_ns: int | None = None) -> bool:
        """Sleep until `over()`; True if there was any need to. On the slot's thread `deadline_ns` is a time to look again."""
        vcpu, queue, trace = self._vcpu, self.queue, self._vcpu.trace
        if over():
            return False
        waited = False
        here = vcpu.staying()
        stats = vcpu.stats
        while True:
            # On the queue first, then the look: whoever makes `over()` true after our look finds us on the queue and wakes us.
            waiter = queue.prepare(here=here)
            if vcpu.idle is not None:
                vcpu.idle.sleeps()
            try:
                if trace is not None:
                    trace(Tracepoint.BEFORE_SLEEP_CHECK, 0)
                if over():
                    break
                waited = True
                if trace is not None:
                    trace(Tracepoint.ASLEEP, 0)
                stats.slept_ns = vcpu.clock.now_ns()
                if isinstance(waiter, ThreadWaiter):
                    self._sleep_here(waiter, deadline_ns)
                else:
                    await waiter
            finally:
                self._off_the_queue()
                if stats.slept_ns >= 0:
                    asleep_ns = vcpu.clock.now_ns() - stats.slept_ns
                    stats.blocked_ns += asleep_ns
                    stats.slept_ns = -1  # right behind its sum: see VcpuStats
                    stats.exited_ns += asleep_ns
            if over():
                break
            stats.spurious_wakeups += 1
        if waited:
            vcpu.exhausted_quantum = False
        return waited

    def _sleep_here(self, waiter: ThreadWaiter, deadline_ns: int | None) -> None:
        """Block the slot's thread, which looks after the vCPU's timers by itself meanwhile."""
        arch = self._vcpu.arch
        due_ns = arch.timers_sleep()
        try:
            if deadline_ns is not None:
                due_ns = deadline_ns if due_ns is None else min(due_ns, deadline_ns)
            waiter.wait(None if due_ns is None else due_ns - self._vcpu.clock.now_ns())
        finally:
            arch.timers_wake()

    def _off_the_queue(self) -> None:
        """Get off the queue, unless a waker has taken us off already."""
        vcpu = self._vcpu
        if self.queue.waiter is not None:
            with vcpu.lock:
                self.queue.take()
