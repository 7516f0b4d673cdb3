"""Slots: the host CPUs of a VM, where guest code executes.

A vCPU's task acquires a slot, enters the guest on it, and releases it after the exit. The engine says how many vCPUs of a VM may
be in guest mode at once; the VM has that many slots, and its vCPUs take turns on them.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from avmm.clock import Clock, TimerHandle
from avmm.exits import Exit

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu

WAKEUP_GRANULARITY_NS = 50_000
"""How long a running vCPU is left alone when one that has just been woken wants its slot."""


_PR_SET_TIMERSLACK = 29
_libc = ctypes.CDLL(None)


class Slot(ABC):
    """One place for one vCPU in guest mode. Owned by the event loop."""

    def __init__(self) -> None:
        self._vcpu: Vcpu | None = None
        self._waiters: deque[tuple[Vcpu, asyncio.Future[None]]] = deque()
        self.switches = 0
        """Times the slot went from one vCPU to another that waited for it."""

    @property
    def vcpu(self) -> Vcpu | None:
        """The vCPU that has the slot, or None."""
        return self._vcpu

    @property
    def waiting(self) -> int:
        """How many vCPUs wait for the slot. Any thread."""
        return len(self._waiters)

    async def acquire(self, vcpu: Vcpu) -> None:
        """Take the slot for `vcpu`, after those who came before (vcpu_load)."""
        if self._vcpu is None:
            self._vcpu = vcpu
            return
        turn = asyncio.get_running_loop().create_future()
        waiter = (vcpu, turn)
        self._waiters.append(waiter)
        self._wanted(vcpu)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(vcpu)  # our turn came together with the cancellation: pass it on
            else:
                self._waiters.remove(waiter)
            raise

    def release(self, vcpu: Vcpu) -> None:
        """Give the slot to whoever waits for it, first come first served (vcpu_put)."""
        assert self._vcpu is vcpu, "a slot is released by the vCPU that has it"
        self._vcpu = None
        while self._waiters:
            heir, turn = self._waiters.popleft()
            if not turn.done():
                self._vcpu = heir
                self.switches += 1
                turn.set_result(None)
                self._handed_over()
                return

    def _wanted(self, by: Vcpu) -> None:
        """`by` has begun to wait for the slot."""

    def _handed_over(self) -> None:
        """Another vCPU has the slot now; others may still wait for it."""

    @abstractmethod
    async def enter(self, vcpu: Vcpu) -> Exit | None:
        """Run `vcpu` in the guest until its task is needed: the exit it is to handle, or None when it is not for an exit.

        Cancelled, it kicks and returns only once the guest is really out.
        """

    @property
    def sleeps_here(self) -> bool:
        """True when a vCPU may sleep on the slot's own thread and keep the slot. Any thread."""
        return False

    @property
    def thread(self) -> int | None:
        """The native id of the slot's thread, or None when it has none (yet)."""
        return None

    def close(self) -> None:
        """Give the host's resources back. Every vCPU is outside."""


class InlineSlot(Slot):
    """Guest code on the event loop's own thread, in slices of `slice_instructions`: the deterministic way."""

    def __init__(self, clock: Clock, slice_instructions: int = 10_000) -> None:
        super().__init__()
        self._clock, self._slice = clock, slice_instructions

    async def enter(self, vcpu: Vcpu) -> Exit:
        before = vcpu.engine.instructions
        exit_ = vcpu.enter_guest(self._slice)
        self._clock.guest_ran(vcpu.engine.instructions - before)
        await asyncio.sleep(0)  # the loop is not ours alone
        return exit_


class ThreadSlot(Slot):
    """Guest code on a thread of its own, which lives as long as the slot; the event loop goes on meanwhile.

    Handed over and back with an eventfd each way, the fastest there is. A vCPU that others wait for is put out after
    `quantum_ns`, or after `WAKEUP_GRANULARITY_NS` when the first that waits has just been woken. One that has the slot for
    `alone` handles its requests and sleeps on the slot's thread, without a hand-over.
    """

    def __init__(self, clock: Clock, *, quantum_ns: int = 1_000_000, alone: bool = False, name: str = "slot") -> None:
        super().__init__()
        self._sleeps_here = alone and clock.is_host  # virtual time is the event loop's
        self._clock, self._quantum_ns, self._name = clock, quantum_ns, name
        self._go = os.eventfd(0, os.EFD_CLOEXEC)
        self._back = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None
        self._entering: Vcpu | None = None
        self._outcome: Exit | BaseException | None = None
        self._out = False
        self._left: asyncio.Future[None] | None = None
        self._entered_ns = 0
        self._preemption: TimerHandle | None = None
        self._preempt_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._back, self._on_left)
        self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
        self._thread.start()

    @property
    def sleeps_here(self) -> bool:
        return self._sleeps_here

    async def enter(self, vcpu: Vcpu) -> Exit | None:
        if self._thread is None:
            self._start()
        assert self._loop is not None
        self._left = left = self._loop.create_future()
        self._entering = vcpu
        self._out = False
        self._entered_ns = self._clock.now_ns()
        if self._waiters:
            self._wanted(self._waiters[0][0])
        os.eventfd_write(self._go, 1)
        try:
            await left
        except asyncio.CancelledError:
            await self._put_out(vcpu)
            raise
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def thread(self) -> int | None:
        return None if self._thread is None else self._thread.native_id

    async def _put_out(self, vcpu: Vcpu) -> None:
        """Kick, and wait until the guest is really out, however often we are cancelled meanwhile."""
        assert self._loop is not None
        # Recalled first, then kicked and woken. Pairs with Vcpu._enters_again(), which forgets kicks first and looks second,
        # and with the sleeper, who is on the queue before it looks.
        vcpu.recalled = True
        while not self._out:
            # The cancelled await took its future with it: the thread's return finds this one.
            self._left = self._loop.create_future()
            vcpu.engine.kick()
            vcpu.wake_up()
            with suppress(asyncio.CancelledError):
                await self._left
        self._outcome = None

    def _serve(self) -> None:
        """The slot's thread."""
        _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # a vCPU that sleeps here wakes in time
        while True:
            os.eventfd_read(self._go)
            vcpu = self._entering
            if vcpu is None:
                return
            try:
                self._outcome = vcpu.stay()
            except BaseException as error:  # noqa: BLE001 - carried over to the vCPU's task, whole
                self._outcome = error
            self._out = True
            os.eventfd_write(self._back, 1)

    def _on_left(self) -> None:
        os.eventfd_read(self._back)
        left = self._left
        # Not out: this is the late word of an entry that _put_out() has seen end already.
        if self._out and left is not None and not left.done():
            left.set_result(None)

    def _wanted(self, by: Vcpu) -> None:
        self._preempt_at(self._entered_ns + self._granted_ns(by))

    def _granted_ns(self, by: Vcpu) -> int:
        """How long whoever has the slot may keep it from `by`."""
        return self._quantum_ns if by.exhausted_quantum else min(WAKEUP_GRANULARITY_NS, self._quantum_ns)

    def _handed_over(self) -> None:
        self._entered_ns = self._clock.now_ns()  # until it enters: what its predecessor used up is not its own
        if self._waiters:
            self._wanted(self._waiters[0][0])

    def _preempt_at(self, when_ns: int) -> None:
        if self._preemption is not None:
            if self._preempt_ns <= when_ns:
                return
            self._preemption.cancel()
        self._preempt_ns = when_ns
        self._preemption = self._clock.call_at(when_ns, self._preempt)

    def _preempt(self) -> None:
        """Somebody's time is over: put the vCPU out, if that is the one, and somebody still waits for its place."""
        self._preemption = None
        vcpu = self._vcpu
        if not self._waiters or vcpu is None:
            return
        due_ns = self._entered_ns + self._granted_ns(self._waiters[0][0])
        if self._clock.now_ns() < due_ns:  # it has the slot since; a timer left behind by its predecessor is early
            self._preempt_at(due_ns)
            return
        vcpu.exhausted_quantum = True
        vcpu.engine.kick()
        # It may not have entered yet, and forgets this kick when it does: enter() then plans anew.

    def close(self) -> None:
        if self._preemption is not None:
            self._preemption.cancel()
        if self._thread is not None:
            self._entering = None
            os.eventfd_write(self._go, 1)
            self._thread.join()
            assert self._loop is not None
            self._loop.remove_reader(self._back)
        os.close(self._go)
        os.close(self._back)
