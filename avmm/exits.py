"""Why a vCPU left the guest.

An engine's `enter()` returns one of these. What an engine can settle on the spot (a device register, a system register, a
hypercall that needs no waiting) is no exit: it is a trap, handled in place on the slot's thread, and only counted.
"""

from __future__ import annotations

from enum import IntEnum

from avmm.record import Record


class ExitReason(IntEnum):
    """The label of an exit or of a trap handled in place; an index into `VcpuStats.exits_by_reason`."""

    KICKED = 0
    HALTED = 1
    YIELDED = 2
    BUDGET = 3
    DEBUG = 4
    FAULT = 5
    MMIO_READ = 6
    MMIO_WRITE = 7
    SYSTEM_REGISTER = 8
    HYPERCALL = 9


class Kicked(Record):
    """The kick arrived: an IPI, in the kernel's words. Whoever kicked left a request behind."""

    reason = ExitReason.KICKED


class Halted(Record):
    """The guest waits for an interrupt (WFI). The program counter is behind the instruction.

    `deadline_ns` bounds the wait (WFIT), in nanoseconds of the VM's clock; None waits without bound.
    """

    deadline_ns: int | None = None
    reason = ExitReason.HALTED


class Yielded(Record):
    """The guest gives its time away (WFE, YIELD): another vCPU goes first. Never sleeps."""

    reason = ExitReason.YIELDED


class BudgetExhausted(Record):
    """The instruction budget given to `enter()` is used up."""

    reason = ExitReason.BUDGET


class Debug(Record):
    """A breakpoint, watchpoint or step of the host's debugger, at guest address `pc`."""

    pc: int
    reason = ExitReason.DEBUG


class Fault(Record):
    """The engine cannot go on with this guest; `detail` says why, in one line."""

    detail: str
    reason = ExitReason.FAULT


Exit = Kicked | Halted | Yielded | BudgetExhausted | Debug | Fault

KICKED = Kicked()
HALTED = Halted()
YIELDED = Yielded()
BUDGET_EXHAUSTED = BudgetExhausted()
