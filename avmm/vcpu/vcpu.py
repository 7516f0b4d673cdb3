"""A vCPU: its requests, its mode, and the run loop that honours the one before it changes the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, assert_never

from avmm.arch import ArchVcpu
from avmm.clock import Clock
from avmm.devattr import AttributeValue, resolve
from avmm.engine import VcpuEngine
from avmm.errors import OperationRefused, RequestError, UnhandledRequest
from avmm.exits import HALTED, BudgetExhausted, Debug, Exit, Fault, Halted, Kicked, Yielded
from avmm.instrument import KickAction, VcpuStats
from avmm.vcpu.acks import Acknowledgements
from avmm.vcpu.halt import HaltPoll, Sleep
from avmm.vcpu.kicker import make_vcpus_request
from avmm.vcpu.limit import InstructionLimit
from avmm.vcpu.mode import TraceHook, Tracepoint, VcpuMode
from avmm.vcpu.posted import PostedWord
from avmm.vcpu.requests import NO_ACTION, REQUEST_MASK, UNHALT, Request, request_bit
from avmm.vcpu.step import Step, StepEnd

if TYPE_CHECKING:
    from avmm.slot import Slot

Handler = Callable[["Vcpu"], None]


class VcpuHost(Protocol):
    """The VM, as a vCPU needs it."""

    clock: Clock

    def vcpu_failed(self, vcpu: Vcpu, detail: str) -> None:
        """The guest cannot go on: an engine fault. Ends the VM as a crash."""

    def vcpu_stopped_for_debug(self, vcpu: Vcpu, pc: int) -> None:
        """A host breakpoint: pause the VM."""


class IdleWatch(Protocol):
    """Whoever wants to know when every vCPU sleeps (virtual time jumps then)."""

    def sleeps(self) -> None:
        """One more vCPU sleeps, or is about to look whether it must. The event loop's thread."""


class Vcpu:
    """One virtual CPU: an asyncio task that runs guest code on a slot, and a word of requests that anybody may set.

    Owned by its own thread: the task on the event loop while outside, the slot's thread while inside the guest. `lock` guards
    what others touch too: the requests, the mode, the acknowledgements, the wait queue and the kick counters. It is held for
    a few instructions and the engine's `kick`, never across an await or another call out.
    """

    __slots__ = (
        "_guest_thread",
        "_halts",
        "_handled",
        "_handlers",
        "_host",
        "_made_ns",
        "_requests",
        "_stay_thread",
        "_task",
        "_to_time",
        "acks",
        "arch",
        "clock",
        "engine",
        "exhausted_quantum",
        "halt_poll",
        "idle",
        "index",
        "kicked_ns",
        "limit",
        "lock",
        "mode",
        "names",
        "paused",
        "posted",
        "powered_off",
        "recalled",
        "sleep",
        "slot",
        "stats",
        "step",
        "trace",
    )

    arch: ArchVcpu
    engine: VcpuEngine
    slot: Slot

    def __init__(self, index: int, host: VcpuHost, handlers: Mapping[int, Handler], names: Mapping[int, str]) -> None:
        """`handlers` are the architecture's, by request, in the order they are handled; `names` name requests by number."""
        self.index, self._host, self.clock, self.names = index, host, host.clock, names
        self._handlers = _handlers(handlers)
        self._handled = sum(bit for bit, _, _ in self._handlers)
        self.lock = threading.Lock()
        self._requests = 0
        self._to_time = 0
        self._made_ns: dict[int, int] = {}
        """When the requests were made that are being timed, by bit. Guarded by `lock`."""
        self.mode = VcpuMode.OUTSIDE_GUEST_MODE
        self.acks: list[Acknowledgements] = []
        self.kicked_ns = 0
        self.powered_off = False
        self.paused = False
        self.exhausted_quantum = False
        """Put out of its slot for the sake of another, and not asleep since: it may be kept waiting a whole quantum."""
        self.posted: PostedWord | None = None
        self.stats = VcpuStats()
        self.sleep = Sleep(self)
        self.idle: IdleWatch | None = None
        self.halt_poll = HaltPoll()
        self.limit: InstructionLimit | None = None
        """What the vCPU may still execute; None: for ever."""
        self.step: Step | None = None
        """The step that is under way, though the vCPU is paused."""
        self.trace: TraceHook | None = None
        """Told of every `Tracepoint`; None, the default, costs a test each."""
        self._task: asyncio.Task[object] | None = None
        self.recalled = False
        """The vCPU's task wants it back from its slot's thread. Set by the slot, before it kicks."""
        self._guest_thread = 0
        self._stay_thread = 0
        self._halts = False

    def __repr__(self) -> str:
        return f"<Vcpu {self.index} {self.mode.name} requests={self._requests:#x}>"

    # Requests: section "Overview" of the kernel's document, in its words.

    @property
    def requests(self) -> int:
        """The word of pending requests: bit n is request number n."""
        return self._requests

    def request_pending(self) -> bool:
        """True when any request is pending. Any thread; orders nothing (kvm_request_pending)."""
        return self._requests != 0

    def test_request(self, request: int) -> bool:
        """True when `request` is pending; leaves it so. Any thread; orders nothing (kvm_test_request)."""
        return self._requests & request_bit(request) != 0

    def clear_request(self, request: int) -> None:
        """Clear `request`. For the vCPU's own thread, or when serialised with it ("Clearing Requests")."""
        with self.lock:
            self._requests &= ~request_bit(request)
            self._made_ns.pop(request_bit(request), None)

    def check_request(self, request: int) -> bool:
        """True when `request` was pending; it no longer is. The vCPU's own thread only (kvm_check_request).

        What the requester wrote before it made the request can be read after this returned True.
        """
        bit = request_bit(request)
        if not self._requests & bit:
            return False
        with self.lock:
            self._requests &= ~bit
            made_ns = self._made_ns.pop(bit, -1) if self._made_ns else -1
        if made_ns >= 0:
            self.stats.request_latency[request & REQUEST_MASK].count(self.clock.now_ns() - made_ns)
        return True

    def time_requests(self) -> None:
        """Measure how long the next request of each number waits to be taken up (`VcpuStats.request_latency`). Any thread.

        Most requests need no clock for anything else, so only those are timed that somebody asks for.
        """
        self._to_time = _TIMED

    def make_request(self, request: int) -> None:
        """Set `request`, and do nothing else: it neither wakes nor kicks. Any thread (kvm_make_request).

        RequestError for a NO_ACTION request, which is never pending, and for a number of 64 or more.
        """
        if request & NO_ACTION:
            raise RequestError(f"request {request:#x} has NO_ACTION and is never pending: make it with a kick")
        bit = request_bit(request)
        if self.trace is not None:
            self.trace(Tracepoint.REQUEST_MADE, request & REQUEST_MASK)
        with self.lock:
            self._requests |= bit
            self.stats.requests_made[request & REQUEST_MASK] += 1
            if self._to_time & bit:
                self._to_time &= ~bit
                self._made_ns.setdefault(bit, self.clock.now_ns())

    def count_waits(self, request: int, made: int, handled: int, ipis: int) -> None:
        """Count requests with WAIT and NO_WAKEUP that the engine made and handled by itself. Own thread.

        `ipis` of the `made` ones found the vCPU in the guest; their requesters have waited for it.
        """
        stats, number = self.stats, request & REQUEST_MASK
        with self.lock:
            stats.requests_made[number] += made
            stats.kicks[KickAction.IPI] += ipis
            stats.kicks[KickAction.NOTHING] += made - ipis
            stats.ipis_acknowledged += ipis
        stats.requests_handled[number] += handled

    def discard_requests(self) -> None:
        """Clear everything pending. Only while the vCPU's task does not run ("Clearing Requests")."""
        with self.lock:
            self._requests = 0
            self._made_ns.clear()

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

    def reach_guest(self, act: Callable[[], None]) -> bool:
        """Call `act` while the vCPU is in guest mode and cannot leave it; False when it is not. Any thread.

        For what an engine can do to a running guest. `act` must neither block nor make requests.
        """
        with self.lock:
            if self.mode is not VcpuMode.IN_GUEST_MODE:
                return False
            act()
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

    # Device attributes, by number or by name. Event loop's thread.

    def has_attr(self, group: int | str, attribute: int | str) -> bool:
        """True when the vCPU has such an attribute (KVM_HAS_DEVICE_ATTR)."""
        try:
            return self.arch.has_attr(*resolve(self.arch.attribute_groups, group, attribute))
        except OperationRefused:
            return False

    def get_attr(self, group: int | str, attribute: int | str) -> int:
        """The value of an attribute; OperationRefused, with errno and reason, when it cannot be read (KVM_GET_DEVICE_ATTR)."""
        return self.arch.get_attr(*resolve(self.arch.attribute_groups, group, attribute))

    def set_attr(self, group: int | str, attribute: int | str, value: AttributeValue = None) -> None:
        """Set an attribute; OperationRefused, with errno and reason, when that cannot be (KVM_SET_DEVICE_ATTR)."""
        self.arch.set_attr(*resolve(self.arch.attribute_groups, group, attribute), value)

    # Whose thread is this?

    def in_guest_thread(self) -> bool:
        """True when the calling thread is inside this vCPU's entry: a trap handled in place."""
        return self._guest_thread == threading.get_ident()

    def staying(self) -> bool:
        """True when the calling thread is the slot's on which the vCPU stays between its entries. Own thread."""
        return self._stay_thread == threading.get_ident()

    def in_own_thread(self) -> bool:
        """True when the calling thread is this vCPU's own: its slot's while it stays there, or its task's on the event loop."""
        if self.in_guest_thread() or self.staying():
            return True
        try:
            return asyncio.current_task() is self._task and self._task is not None
        except RuntimeError:  # no event loop in this thread
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

    # The run loop: the vCPU's task, and its slot's thread.

    async def run(self) -> None:
        """Run the guest until VM_DEAD. The order of the steps is the kernel's (kvm_arch_vcpu_ioctl_run)."""
        self._task = asyncio.current_task()
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
            if self._requests & _LOOP_HANDLES or self.recalled or self.slot.waiting:
                return False
            if self._requests:
                self._handle_requests()
            if trace is not None:
                trace(Tracepoint.AFTER_REQUESTS, 0)
            if self._commit():
                # Looked at behind clear_kick(), which may have dropped the kick that came with it.
                if not (self.recalled or self.slot.waiting):
                    return True
                self._now_outside()
                return False

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
_TIMED = ~request_bit(UNHALT)  # made and taken up by the vCPU itself, in one breath
_LOOP_HANDLES = _VM_DEAD | _SLEEP


def _here(coroutine: Coroutine[object, None, None]) -> None:
    """Run `coroutine` on this thread, where it has nothing to suspend for."""
    with suppress(StopIteration):
        coroutine.send(None)
        raise AssertionError("what runs on the slot's thread blocks instead of suspending")


def _flush_tlb(vcpu: Vcpu) -> None:
    vcpu.engine.flush_tlb()


def _nothing(vcpu: Vcpu) -> None:
    """The request did its work by being made: it forced another pass through flush_hwstate()."""


def _handlers(arch: Mapping[int, Handler]) -> tuple[tuple[int, int, Handler], ...]:
    """(bit, request, handler) of all requests, in the order in which they are handled."""
    generic: dict[int, Handler] = {
        Request.TLB_FLUSH: _flush_tlb,
        Request.MMU_RELOAD: _flush_tlb,
        Request.PENDING_TIMER: _nothing,
        Request.UNBLOCK: _nothing,
    }
    return tuple((request_bit(request), int(request), handler) for request, handler in {**generic, **arch}.items())
