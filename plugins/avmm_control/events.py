"""What happens in a VM, for whoever listens: nothing is recorded of what nobody wants to hear."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum

from avmm.plugin import (
    ExitReason,
    KickAction,
    ObservedVm,
    State,
    TraceHook,
    Tracepoint,
    Vcpu,
    add_tracer,
    remove_tracer,
)
from avmm_control.ring import Event, Ring

KEPT_STATES, KEPT = 256, 8192
"""Events kept of the VM's states, and of each other kind."""


class Kind(Enum):
    """The kinds of events."""

    STATE = "state"
    """The VM's state changed. Always recorded."""
    EXIT = "exit"
    """A vCPU left guest mode."""
    KICK = "kick"
    """A vCPU was kicked."""
    REQUEST = "request"
    """A request was made of a vCPU."""
    HANDLED = "handled"
    """A vCPU handles a request."""


_TRACED = {
    Tracepoint.EXIT: Kind.EXIT,
    Tracepoint.KICK: Kind.KICK,
    Tracepoint.REQUEST_MADE: Kind.REQUEST,
    Tracepoint.REQUEST_HANDLED: Kind.HANDLED,
}


class EventLog:
    """The events of one VM. Owned by the event loop."""

    def __init__(self, vm: ObservedVm) -> None:
        self._vm = vm
        self.rings = {kind: Ring(KEPT_STATES if kind is Kind.STATE else KEPT) for kind in Kind}
        self._wanted: Counter[Kind] = Counter()
        self._tracers = ExitStack()
        self._waiters: set[asyncio.Event] = set()
        self.closed = False
        """True once the VM is over, or no longer served: nothing more will come."""
        self._unwatch = vm.lifecycle.watch(self._moved)

    def close(self) -> None:
        """Record no more; whoever listens learns that it is over."""
        self.closed = True
        self._unwatch()
        self._tracers.close()
        self._wake()

    @contextmanager
    def listening(self, kinds: Iterable[Kind]) -> Iterator[asyncio.Event]:
        """Have `kinds` recorded for the length of a `with`. The event is set when something comes that does not wait."""
        kinds, waiter = tuple(kinds), asyncio.Event()
        self._wanted.update(kinds)
        self._waiters.add(waiter)
        self._trace()
        try:
            yield waiter
        finally:
            self._wanted.subtract(kinds)
            self._waiters.discard(waiter)
            self._trace()

    def data(self, kind: Kind, event: Event) -> dict[str, object]:
        """What is told of an event."""
        _, at_ns, vcpu, value = event
        about: dict[str, object] = {"time_ns": at_ns}
        match kind:
            case Kind.STATE:
                about["state"] = value
                halt = self._vm.halt
                if value == State.HALTED.value and halt is not None:
                    about["halt"] = {"reason": halt.reason.value, "detail": halt.detail, "status": halt.status}
            case Kind.EXIT:
                about |= {"vcpu": vcpu, "reason": ExitReason(int(value)).name.lower() if int(value) >= 0 else "error"}
            case Kind.KICK:
                about |= {"vcpu": vcpu, "action": KickAction(int(value)).name.lower()}
            case Kind.REQUEST | Kind.HANDLED:
                about |= {"vcpu": vcpu, "request": self._vm.request_names.get(int(value), str(value))}
        return about

    def _moved(self, to: State) -> None:
        self.rings[Kind.STATE].add(self._vm.clock.now_ns(), -1, to.value)
        if to is State.HALTED:
            self.close()
        else:
            self._wake()

    def _wake(self) -> None:
        for waiter in tuple(self._waiters):
            waiter.set()

    def _trace(self) -> None:
        """Have the vCPUs tell what somebody wants to hear, and nothing else."""
        self._tracers.close()
        wanted = {point: self.rings[kind] for point, kind in _TRACED.items() if self._wanted[kind] > 0}
        if not wanted or self.closed:
            return
        for vcpu in self._vm.vcpus:
            hook = _hook(self._vm, vcpu, wanted)
            add_tracer(vcpu, hook)
            self._tracers.callback(remove_tracer, vcpu, hook)


def _hook(vm: ObservedVm, vcpu: Vcpu, wanted: dict[Tracepoint, Ring]) -> TraceHook:
    now_ns, index = vm.clock.now_ns, vcpu.index
    pairs = tuple((point, ring.add) for point, ring in wanted.items())

    def record(point: Tracepoint, value: int) -> None:
        for one, add in pairs:
            if point is one:
                add(now_ns(), index, value)
                return

    return record
