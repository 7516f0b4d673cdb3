"""The recorder: the last events of a VM, in a ring of fixed size."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from enum import Enum
from itertools import count

from avmm.plugin import FigureKind, Histogram, IrqLine, ObservedVm, TraceHook, Tracepoint, Vcpu, add_tracer, remove_tracer

SAMPLE_NS = 20_000_000
"""How often counters are sampled while guests leave guest mode, in nanoseconds of the VM's clock."""
VM = -1
"""The source of events that belong to no vCPU."""


class VmEvent(Enum):
    """What is recorded beside the tracepoints of vCPUs."""

    READ = "read"
    """A device register is read. Value: its guest physical address."""
    WRITE = "write"
    LINE_HIGH = "line_high"
    """A device raised its interrupt line. Value: the line's name."""
    LINE_LOW = "line_low"
    STATE = "state"
    """The VM's state changed. Value: its name."""
    SAMPLE = "sample"
    """Counters. Value: (name, value) of each."""


Sample = tuple[tuple[str, float], ...]
Event = tuple[int, int, int, Tracepoint | VmEvent, int | str | Sample, int]
"""(number, nanoseconds of the VM's clock, vCPU or `VM`, what, value, ident of the thread that told)."""

_LEFT_OUT = (
    Tracepoint.LOOP_TOP,
    Tracepoint.IRQS_OFF,
    Tracepoint.AFTER_LAST_CHECK,
    Tracepoint.POLL,
    Tracepoint.BEFORE_SLEEP_CHECK,
)
"""What a timeline needs no record of."""


class Recorder:
    """Records one VM. Events come from any thread, without a lock: see `_hook`."""

    def __init__(self, vm: ObservedVm, events: int) -> None:
        """Keep the last `events`."""
        self._vm = vm
        self._ring: deque[Event] = deque(maxlen=events)
        self._numbers = count()
        self._next_sample_ns = 0
        self._undo = ExitStack()
        self.loop_thread = threading.get_ident()
        """The event loop's thread."""

    def start(self) -> None:
        """Record from now on. On the event loop's thread."""
        vm = self._vm
        self._tell(VmEvent.STATE, vm.state())
        for vcpu in vm.vcpus:
            hook = self._hook(vcpu)
            add_tracer(vcpu, hook)
            self._undo.callback(remove_tracer, vcpu, hook)
        vm.bus.trace = lambda address, write: self._tell(VmEvent.WRITE if write else VmEvent.READ, address)
        self._undo.callback(setattr, vm.bus, "trace", None)
        for region in vm.bus:
            if region.irq is not None:
                region.irq.trace = self._line
                self._undo.callback(setattr, region.irq, "trace", None)
        self._undo.callback(vm.lifecycle.watch(lambda state: self._tell(VmEvent.STATE, state.value)))

    def stop(self) -> None:
        """Record no more."""
        self._undo.close()

    def events(self) -> tuple[list[Event], int]:
        """What is in the ring, in the order of time, and how many events were recorded before that and are lost."""
        events = sorted(self._ring, key=lambda event: (event[1], event[0]))
        return events, next(self._numbers) - len(events)

    def _hook(self, vcpu: Vcpu) -> TraceHook:
        # No lock: count.__next__ and deque.append are single steps of the interpreter, which the GIL keeps apart (and which have
        # locks of their own where there is no GIL). A number says how many events there were before, so that the last one tells
        # how many fell out of the ring. Two threads may append in another order than they took their numbers; sorting mends it.
        append, number, now_ns, thread = self._ring.append, self._numbers.__next__, self._vm.clock.now_ns, threading.get_ident
        index, leave = vcpu.index, Tracepoint.EXIT
        a, b, c, d, e = _LEFT_OUT

        def record(point: Tracepoint, value: int) -> None:
            if point is a or point is b or point is c or point is d or point is e:
                return
            at_ns = now_ns()
            append((number(), at_ns, index, point, value, thread()))
            if point is leave and at_ns >= self._next_sample_ns:
                self._sample(at_ns)

        return record

    def _tell(self, what: VmEvent, value: int | str | Sample) -> None:
        self._ring.append((next(self._numbers), self._vm.clock.now_ns(), VM, what, value, threading.get_ident()))

    def _line(self, line: IrqLine, level: bool) -> None:
        self._tell(VmEvent.LINE_HIGH if level else VmEvent.LINE_LOW, line.name)

    def _sample(self, now_ns: int) -> None:
        """Sample the counters. On the thread of a slot whose guest is out, with no lock held."""
        self._next_sample_ns = now_ns + SAMPLE_NS
        self._tell(VmEvent.SAMPLE, tuple(self._counters()))

    def _counters(self) -> Iterator[tuple[str, float]]:
        with self._vm.device_lock:
            views = [vcpu.arch.view() for vcpu in self._vm.vcpus]
        for vcpu, view in zip(self._vm.vcpus, views, strict=True):
            for counter in view.counters:
                yield f"vCPU {vcpu.index} {counter.name} {counter.event}", counter.value
        for region in self._vm.bus:
            for figure, value in region.device.figures():
                if figure.kind is not FigureKind.HISTOGRAM and not isinstance(value, Histogram):
                    yield " ".join((region.name, figure.name, *figure.labels.values())), value
