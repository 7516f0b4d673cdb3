"""A scripted vCPU: what it executes is what a Python generator says next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence

from avmm.engine import CountedEvent, ExternalAbort, SystemRegister, Traps, Undefined
from avmm.exits import BUDGET_EXHAUSTED, HALTED, KICKED, Debug, Exit, Fault, Halted, Yielded
from avmm.figure import Figure, FigureValue
from avmm.testing.events import EventCounters
from avmm.testing.steps import (
    Call,
    Compute,
    FlushAllTlbs,
    MmioRead,
    MmioWrite,
    ReadSystemRegister,
    Spin,
    Step,
    Trap,
    WriteSystemRegister,
)

REGISTERS = (*(f"x{number}" for number in range(31)), "sp", "pc", "pstate")
WORD = (1 << 64) - 1

Script = Generator[Step, int, None]
"""A guest program under way: yields steps, receives their results (0 where a step has none).

An external abort or undefined instruction is raised at the `yield`; a guest that does not catch it ends with a `Fault`. A guest
that returns waits for interrupts ever after.
"""

Program = Callable[["ScriptedVcpu"], Script] | Iterable[Step]
"""A guest program: a generator function, or simply the steps in order. Begun anew at every reset."""


class _Registers:
    """The `Hypercall` a trap handler sees."""

    def __init__(self, vcpu: ScriptedVcpu, call: Call) -> None:
        self._vcpu, self.immediate, self.secure = vcpu, call.immediate, call.secure

    def argument(self, index: int) -> int:
        return self._vcpu.read_register(f"x{index}")

    def result(self, index: int, value: int) -> None:
        self._vcpu.write_register(f"x{index}", value)


class ScriptedVcpu(EventCounters):
    """One scripted vCPU; a `VcpuEngine` that tests can look into. Its instructions are all at EL1, and events to count."""

    counted_events = frozenset({CountedEvent.INSTRUCTIONS})
    live_pins = False

    def __init__(self, index: int, program: Program, traps: Traps, registers: Sequence[SystemRegister]) -> None:
        super().__init__()
        self.index = index
        self._program, self._traps = program, traps
        self._system_registers = {register.name: register for register in registers}
        self._registers = dict.fromkeys(REGISTERS, 0)
        self.instructions = 0
        self._counting = False
        self.entries = 0
        self.tlb_flushes = 0
        self.irq_line = self.fiq_line = False
        """The interrupt pin, as the host drives it: a guest may look at it at any time."""
        self.in_guest = False
        """True while `enter()` runs."""
        self.spinning = False
        """True while a `Spin()` blocks the thread that entered."""
        self.on_spin: Callable[[], None] | None = None
        """Called on the entering thread just before it blocks in `Spin()`: from here on only a kick ends the entry."""
        self.closed = False
        self.counter_offsets: dict[str, int] = {}
        self._lock = threading.Lock()  # guards the latched kick and `spinning`
        self._kicked = False
        self._parked = threading.Lock()  # the entering thread blocks on it in Spin()
        self._parked.acquire()
        self.reset()

    # The program.

    def reset(self) -> None:
        """Begin the program anew, all registers zero."""
        self._registers = dict.fromkeys(REGISTERS, 0)
        self._script: Script | None = None
        self._step: Step | None = None
        self._left = 0  # instructions left of a Compute
        self._result = 0
        self._error: ExternalAbort | Undefined | None = None

    def _next(self) -> Step:
        if self._script is None:
            self._script = self._program(self) if callable(self._program) else _script(self._program)
            self._result = 0
            return self._fetch(lambda script: next(script))
        if self._error is not None:
            error, self._error = self._error, None
            return self._fetch(lambda script: script.throw(error))
        result, self._result = self._result, 0
        return self._fetch(lambda script: script.send(result))

    def _fetch(self, resume: Callable[[Script], Step]) -> Step:
        assert self._script is not None
        try:
            return resume(self._script)
        except StopIteration:
            self._script = _script([])
            next(self._script, None)
            return HALTED
        except (ExternalAbort, Undefined) as error:
            return Fault(f"the guest did not expect {type(error).__name__} {error}".rstrip())

    # VcpuEngine.

    def enter(self, budget: int = 0) -> Exit:
        assert not self.in_guest, "a vCPU is entered once at a time"
        assert not self.closed, "a closed vCPU is not entered"
        self.in_guest = True
        self.entries += 1
        try:
            return self._run(budget)
        finally:
            self.in_guest = False

    def _run(self, budget: int) -> Exit:
        left = budget
        while True:
            if self._take_kick():
                return KICKED
            self.settle()
            if budget and not left:
                return BUDGET_EXHAUSTED
            step = self._step
            if step is None:
                step = self._step = self._next()
                if isinstance(step, Compute):
                    self._left = step.instructions
            match step:
                case Spin():
                    if self.irq_line or self.fiq_line:
                        self._retire(1)
                        left -= 1 if budget else 0
                        self._step = None
                    elif budget:
                        count = self._reach(left)
                        self._retire(count)
                        left -= count
                    else:
                        self._park()
                case Compute():
                    count = self._reach(min(left, self._left) if budget else self._left)
                    self._retire(count)
                    self._left -= count
                    left -= count if budget else 0
                    if not self._left:
                        self._step = None
                case Halted() | Yielded() | Debug() | Fault():
                    self._retire(1)
                    self._step = None
                    return step
                case _:
                    self._retire(1)
                    left -= 1 if budget else 0
                    self._step = None
                    try:
                        self._result = self._trap(step)
                    except (ExternalAbort, Undefined) as error:
                        self._error = error

    def _reach(self, count: int) -> int:
        """How many of `count` instructions there are to the next limit."""
        room = self.room(CountedEvent.INSTRUCTIONS, 1)
        return count if room is None else min(count, room)

    def _retire(self, count: int) -> None:
        if self._counting:
            self.instructions += count
        if self.mask:
            self.happened(CountedEvent.INSTRUCTIONS, 1, count)

    def _park(self) -> None:
        with self._lock:
            if self._kicked:
                return
            self.spinning = True
        if self.on_spin is not None:
            self.on_spin()
        self._parked.acquire()

    def _take_kick(self) -> bool:
        if not self._kicked:
            return False
        with self._lock:
            self._kicked = False
        return True

    def _trap(self, step: Trap) -> int:
        match step:
            case MmioRead(address, width):
                return self._traps.mmio_read(address, width)
            case MmioWrite(address, value, width):
                self._traps.mmio_write(address, width, value)
            case ReadSystemRegister(name):
                register = self._system_register(name)
                if register.read is not None:
                    return register.read()
                if register.constant is None:
                    raise Undefined(name)
                return register.constant
            case WriteSystemRegister(name, value):
                register = self._system_register(name)
                if register.write is not None:
                    register.write(value & WORD)
                elif register.constant is None:
                    raise Undefined(name)
            case Call(_, arguments):
                for index, value in enumerate(arguments):
                    self.write_register(f"x{index}", value)
                self._traps.hypercall(_Registers(self, step))
                return self.read_register("x0")
            case FlushAllTlbs():
                self.flush_tlb()
                self._traps.tlb_flush_all()
        return 0

    def _system_register(self, name: str) -> SystemRegister:
        register = self._system_registers.get(name)
        if register is None:
            raise Undefined(name)
        return register

    @property
    def kicked(self) -> bool:
        """True while a kick is latched."""
        return self._kicked

    def kick(self) -> None:
        with self._lock:
            self._kicked = True
            if self.spinning:
                self.spinning = False
                self._parked.release()

    def clear_kick(self) -> None:
        with self._lock:
            self._kicked = False

    def set_irq_line(self, level: bool) -> None:
        self.irq_line = level

    def set_fiq_line(self, level: bool) -> None:
        self.fiq_line = level

    def flush_tlb(self) -> None:
        self.tlb_flushes += 1

    def count_instructions(self, on: bool) -> None:
        self._counting = on

    def set_counter_offset(self, name: str, offset: int) -> None:
        self.counter_offsets[name] = offset & WORD

    def read_register(self, name: str) -> int:
        return self._registers[name]

    def write_register(self, name: str, value: int) -> None:
        if name not in self._registers:
            raise KeyError(name)
        self._registers[name] = value & WORD

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        return ()

    def close(self) -> None:
        assert not self.in_guest, "a vCPU is closed outside the guest"
        assert not self.closed, "a vCPU is closed once"
        self.closed = True


def _script(steps: Iterable[Step]) -> Script:
    for step in steps:  # noqa: UP028 - a plain iterator takes no results
        yield step
