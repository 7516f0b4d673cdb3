"""A vCPU: its requests, its mode, and the run loop that honours the one before it changes the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, assert_never

from avmm.errors import UnhandledRequest
from avmm.exits import BudgetExhausted, Debug, Exit, Fault, Halted, Kicked, Yielded
from avmm.instrument import KickAction
from avmm.vcpu.acks import Acknowledgements
from avmm.vcpu.attributes import DeviceAttributes
from avmm.vcpu.guest_entry import GuestEntry
from avmm.vcpu.halt import HaltPoll, Sleep
from avmm.vcpu.handlers import Handler, in_order
from avmm.vcpu.host import IdleWatch, VcpuHost
from avmm.vcpu.kicker import make_vcpus_request
from avmm.vcpu.mode import Tracepoint, VcpuMode
from avmm.vcpu.posted import PostedWord
from avmm.vcpu.requests import REQUEST_MASK, UNHALT, Request, request_bit
from avmm.vcpu.step import StepEnd

if TYPE_CHECKING:
    from avmm.slot import Slot


class Vcpu(GuestEntry, DeviceAttributes):
    """One virtual CPU: an asyncio task that runs guest code on a slot, and a word of requests that anybody may set.

    Owned by its own thread: its slot's from an entry until the task is needed again (`stay`), else the task's, on the event loop.
    """

    __slots__ = (
        "_handled",
        "_handlers",
        "_host",
        "exhausted_quantum",
        "halt_poll",
        "idle",
        "names",
        "paused",
        "powered_off",
        "recalled",
        "sleep",
        "slot",
    )

    slot: Slot

    def __init__(self, index: int, host: VcpuHost, handlers: Mapping[int, Handler], names: Mapping[int, str]) -> None:
        """`handlers` are the architecture's, by request, in the order they are handled; `names` name requests by number."""
        super().__init__(index, host.clock)
        self._host, self.names = host, names
        self._handlers = in_order(handlers)
        self._handled = sum(bit for bit, _, _ in self._handlers)
        self.powered_off = False
        self.paused = False
        self.exhausted_quantum = False
        """Put out of its slot for the sake of another, and not asleep since: it may be kept waiting a whole quantum."""
        self.recalled = False
        """The vCPU's task wants it back from its slot's thread. Set by the slot, before it kicks."""
        self.sleep = Sleep(self)
        self.idle: IdleWatch | None = None
        self.halt_poll = HaltPoll()

    def __repr__(self) -> str:
        return f"<Vcpu {self.index} {self.mode.name} requests={self._requests:#x}>"

    # Requests and kicks.

    def make_request_and_kick(self, request: int) -> Acknowledgements:
        """Make `request` and do what it takes for it to be seen, as its flags say. Any thread (kvm_make_request_and_kick)."""
        return make_vcpus_request((self,), request)

    def post_with(self) -> PostedWord:
        """The vCPU's posted word, made at the first call: the one way to kick without a request, with its ordering rule."""
        if self.posted is None:
            self.posted = PostedWord(self)
        return self.posted

    # Sleeping and waking.

    def wake_up(self, *, kicked: bool = False) -> bool:
        """Take the vCPU off its wait queue if it sleeps, and let it look again; True if it slept. Any thread.

        `kicked` counts it as what a kick came to.
        """
        queue = self.sleep.queue
        if queue.waiter is None:
            return False
        with self.lock:
            waiter = queue.take()
            if waiter is None:
                return False
            self.stats.wakeups += 1
            if kicked:
                self.stats.kicks[_WAKEUP] += 1
            if self.trace is not None:
                self.trace(Tracepoint.KICK if kicked else Tracepoint.WOKEN, _WAKEUP if kicked else 0)
        queue.resume(waiter)
        return True

    def halt(self) -> None:
        """Called in a trap on the vCPU's own thread: its entry ends right behind the trap, as if the guest had executed WFI."""
        assert self.in_guest_thread(), "a vCPU halts itself"
        self._halts = True
        self.engine.kick()

    @property
    def asleep(self) -> bool:
        """True while the vCPU sleeps on its wait queue: halted, paused or powered off. Any thread."""
        return self.sleep.queue.waiter is not None

    def power_off(self) -> None:
        """Keep the vCPU from running until `power_on()` (PSCI CPU_OFF, KVM_MP_STATE_STOPPED). Any thread."""
        self.powered_off = True
        self.make_request_and_kick(Request.SLEEP)

    def power_on(self) -> None:
        """Let a powered-off vCPU run. Any thread. The stale SLEEP request finds nothing to sleep for."""
        self.powered_off = False
        self.wake_up()

    # The run loop: the vCPU's task, and its slot's thread.

    async def run(self) -> None:
        """Run the guest until VM_DEAD. The order of the steps is the kernel's (kvm_arch_vcpu_ioctl_run)."""
        self._task, self._task_thread = asyncio.current_task(), threading.get_ident()
        self.recalled = False
        stats = self.stats
        if stats.started_ns < 0:
            stats.started_ns = self.clock.now_ns()
        stats.ended_ns = stats.exit_reason = -1
        try:
            await self._run()
        finally:
            if self.step is not None:
                self.step.end(StepEnd.OVER)
            stats.ended_ns = self.clock.now_ns()

    async def _run(self) -> None:
        while True:
            trace = self.trace
            if trace is not None:
                trace(Tracepoint.LOOP_TOP, 0)
            if self._requests and not await self._check_requests():
                return
            if trace is not None:
                trace(Tracepoint.AFTER_REQUESTS, 0)
            await self.slot.acquire(self)
            try:
                exit_ = await self._enter()
            finally:
                self.slot.release(self)
            if exit_ is None:
                await asyncio.sleep(0)  # cond_resched(): an entry given up must not keep the loop from others
            else:
                if self.limit is not None:
                    self.limit.left_guest()
                if self.step is not None:
                    self.step.left_guest(exit_)
                await self._handle(exit_)

    async def _enter(self) -> Exit | None:
        """One stay on our slot; None when no exit is left to handle."""
        if not self._commit():
            return None
        try:
            exit_ = await self.slot.enter(self)  # OUTSIDE again before it returns, also when it is cancelled
        except BaseException:
            if self.mode is not VcpuMode.OUTSIDE_GUEST_MODE:  # it never got as far as enter_guest()
                self._now_outside()
            raise
        if exit_ is not None:
            self.arch.sync_hwstate()
        return exit_

    def stay(self) -> Exit | None:
        """Execute guest code on the calling thread, entering again and again until the vCPU's task is needed. For slots.

        The exit that the task is to handle, or None when there is nothing to do about the last one. The vCPU's run loop, without
        a task: what it does not await it does here. Sleeps here too while nobody else may want the slot.
        """
        self._stay_thread = threading.get_ident()
        try:
            exit_ = self.enter_guest()
            while not self._needs_task(exit_):
                self.arch.sync_hwstate()
                _here(self._handle(exit_))
                if not self._enters_again():
                    return None
                exit_ = self.enter_guest()
            return exit_
        finally:
            self._stay_thread = 0

    def _needs_task(self, exit_: Exit) -> bool:
        """True when `exit_` is the task's to handle: it counts instructions, gives the slot to others, or tells the VM."""
        if self.limit is not None or self.step is not None:
            return True
        match exit_:
            case Kicked():
                return False
            case Halted():
                return not self.slot.sleeps_here
            case _:
                return True

    def _enters_again(self) -> bool:
        """What the run loop does between two entries; False when that takes the task, or the slot's next user."""
        trace = self.trace
        while True:
            if trace is not None:
                trace(Tracepoint.LOOP_TOP, 0)
            if self._requests & _LOOP_HANDLES or self._wanted_elsewhere():
                return False
            if self._requests:
                self._handle_requests()
            if trace is not None:
                trace(Tracepoint.AFTER_REQUESTS, 0)
            if self._commit():
                # Looked at behind clear_kick(), which may have dropped the kick that came with it.
                if not self._wanted_elsewhere():
                    return True
                self._now_outside()
                return False

    def _wanted_elsewhere(self) -> bool:
        """True when the vCPU's task wants it back, or another vCPU the slot."""
        return self.recalled or self.slot.waiting > 0

    async def _check_requests(self) -> bool:
        """Handle what is pending, the core's own first, then the architecture's in its order; False when the VM is over."""
        # VM_DEAD is looked at and left standing: nothing may run the guest again.
        if not self._requests & _VM_DEAD and self._requests & _SLEEP and self.check_request(Request.SLEEP):
            self._count_handled(Request.SLEEP)
            await self.sleep.while_off()
        if self._requests & _VM_DEAD:
            self._count_handled(Request.VM_DEAD)
            return False
        self._handle_requests()
        return True

    def _handle_requests(self) -> None:
        """Handle what is pending and needs no await."""
        for bit, request, handler in self._handlers:
            if self._requests & bit and self.check_request(request):
                self._count_handled(request)
                handler(self)
        # A bit that nobody clears would refuse entry forever.
        if unhandled := self._requests & ~self._handled & ~_LOOP_HANDLES:
            number = (unhandled & -unhandled).bit_length() - 1
            raise UnhandledRequest(self.index, self.names.get(number, str(number)))

    def _count_handled(self, request: int) -> None:
        self.stats.requests_handled[request & REQUEST_MASK] += 1
        if self.trace is not None:
            self.trace(Tracepoint.REQUEST_HANDLED, request & REQUEST_MASK)

    async def _handle(self, exit_: Exit) -> None:
        match exit_:
            case Kicked() | BudgetExhausted():
                pass  # the request, or the next slice, is the next pass's
            case Halted(deadline_ns):
                await self.sleep.halt(deadline_ns)
                # Receiver and requester are the same thread here, so the request may go at once ("Clearing Requests"); left
                # standing it would refuse the next entry.
                if self.check_request(UNHALT):
                    self._count_handled(UNHALT)
            case Yielded():
                await asyncio.sleep(0)
            case Debug(pc):
                self._host.vcpu_stopped_for_debug(self, pc)
            case Fault(detail):
                self._host.vcpu_failed(self, detail)
            case _:
                assert_never(exit_)


_WAKEUP = int(KickAction.WAKEUP)
_VM_DEAD = request_bit(Request.VM_DEAD)
_SLEEP = request_bit(Request.SLEEP)
_LOOP_HANDLES = _VM_DEAD | _SLEEP


def _here(coroutine: Coroutine[object, None, None]) -> None:
    """Run `coroutine` on this thread, where it has nothing to suspend for."""
    with suppress(StopIteration):
        coroutine.send(None)
        raise AssertionError("what runs on the slot's thread blocks instead of suspending")
