"""The steps of a scripted guest: what a real guest does with instructions."""

from __future__ import annotations

from dataclasses import dataclass

from avmm.exits import Debug, Fault, Halted, Yielded


@dataclass(frozen=True, slots=True)
class MmioRead:
    """Read `width` bytes (1, 2, 4, 8) at guest physical `address`; the value is the step's result."""

    address: int
    width: int = 4


@dataclass(frozen=True, slots=True)
class MmioWrite:
    """Write `width` bytes (1, 2, 4, 8) at guest physical `address`."""

    address: int
    value: int
    width: int = 4


@dataclass(frozen=True, slots=True)
class ReadSystemRegister:
    """Read the system register called `name`; the value is the step's result. Undefined when there is none."""

    name: str


@dataclass(frozen=True, slots=True)
class WriteSystemRegister:
    """Write the system register called `name`. Undefined when there is none."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Call:
    """A hypercall; `arguments` go to x0 and up. The result is what x0 holds afterwards."""

    immediate: int = 0
    arguments: tuple[int, ...] = ()
    secure: bool = False


@dataclass(frozen=True, slots=True)
class FlushAllTlbs:
    """Invalidate the translations of all vCPUs (TLBI ..IS)."""


@dataclass(frozen=True, slots=True)
class Compute:
    """Execute so many instructions that touch nothing."""

    instructions: int


@dataclass(frozen=True, slots=True)
class Spin:
    """An endless loop with interrupts enabled: ends when the interrupt line is high, that is at an entry of the vCPU's.

    Until then, an entry that comes to it blocks its thread until kicked; one with a budget uses that up.
    """


Trap = MmioRead | MmioWrite | ReadSystemRegister | WriteSystemRegister | Call | FlushAllTlbs
Step = Trap | Compute | Spin | Halted | Yielded | Debug | Fault
"""What a guest does next. The last four are exits, returned by `enter()` as they are."""
