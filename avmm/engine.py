"""The contract of an engine: what executes the guest.

An engine plugin offers a factory `(EngineOptions) -> Engine`. One `Engine` belongs to one VM and makes one `VcpuEngine` a
vCPU. Abilities are declared as attributes, never probed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from avmm.clock import Clock
from avmm.exits import Exit
from avmm.memory import MemorySlot
from avmm.record import Record
from avmm.served import ServedMmio

if TYPE_CHECKING:
    from avmm.figure import Figure, FigureValue


class CountedEvent(IntEnum):
    """What an engine may be able to count, exactly: instructions that were carried out, and what they did.

    An instruction that ends in an exception of its own is not carried out; one that asks for an exception (SVC, HVC) is.
    """

    INSTRUCTIONS = 0
    MEMORY_ACCESSES = 1
    """Instructions that load or store; one each, whatever the width or the number of registers."""
    LOADS = 2
    """Instructions that load. An atomic read-modify-write counts here and in STORES."""
    STORES = 3
    """Instructions that store, or would: a store-exclusive that fails counts too."""
    BRANCHES = 4
    """Branches, taken or not, calls and returns among them; no exception returns."""
    IMMEDIATE_BRANCHES = 5
    """Branches whose target is in the instruction, taken or not."""
    RETURNS = 6
    """Returns from a procedure."""
    EXCEPTIONS = 7
    """Exceptions taken, interrupts among them, at the exception level they are taken from."""
    EXCEPTION_RETURNS = 8
    """Exception returns, at the exception level they return from."""


def event_bit(event: int, level: int) -> int:
    """The bit of `event` at exception level `level` (0 or 1) in a mask of `VcpuEngine.count_events`."""
    return 1 << event_index(event, level)


def event_index(event: int, level: int) -> int:
    """The place of `event` at exception level `level` (0 or 1) in what `VcpuEngine.event_counts` returns."""
    return 2 * event + level


class EventLimit(Record):
    """So many more events: `count` (1 to 2**63 - 1) of `event`, at the exception levels in `levels` (bit 0: EL0, bit 1: EL1)."""

    event: int
    levels: int
    count: int


class ExternalAbort(Exception):
    """Raised by a trap handler: the guest takes an external abort at this access."""


class Undefined(Exception):
    """Raised by a trap handler: the guest takes an Undefined Instruction exception at this access."""


class SystemRegister(Record):
    """A system register that traps to the host, or reads as a constant.

    `encoding` is the architecture's: for AArch64 (op0, op1, CRn, CRm, op2). `read` returns the value, `write` takes it
    (unsigned, 64 bits); None where the register cannot be read or written, which is then Undefined in the guest. Both run on
    the thread that executes the guest, inside `enter()`, and may raise `Undefined`. A register with `constant` reads as that
    value natively and ignores writes where `write` is None. `el0` lets EL0 reach the handler, unless `allowed_at_el0`, asked
    before each access from EL0 with True for a read, says False: that access traps to EL1 (exception class 0x18).
    """

    name: str
    encoding: tuple[int, int, int, int, int]
    read: Callable[[], int] | None = None
    write: Callable[[int], None] | None = None
    constant: int | None = None
    el0: bool = False
    allowed_at_el0: Callable[[bool], bool] | None = None


class Counter(Record):
    """A counter the engine reads natively: `(now_ns * frequency_hz / 10**9) - offset`, modulo 2**64.

    `encoding` as in `SystemRegister`. `now_ns` is the VM's clock: CLOCK_MONOTONIC for the host clock, `Clock.now_ns()` for any
    other. `allowed_at_el0` is asked only for an access from EL0; False makes it a trap to EL1 (exception class 0x18).
    """

    name: str
    encoding: tuple[int, int, int, int, int]
    frequency_hz: int
    offset: int = 0
    allowed_at_el0: Callable[[], bool] | None = None


class Hypercall(Protocol):
    """The registers of a hypercall while its handler runs (SMCCC: x0 to x17 are arguments and results)."""

    immediate: int
    secure: bool
    """True for SMC, False for HVC."""

    def argument(self, index: int) -> int:
        """Register `x<index>`, unsigned, 64 bits."""

    def result(self, index: int, value: int) -> None:
        """Set register `x<index>` to `value` modulo 2**64."""


class Traps(Protocol):
    """What the guest's traps reach: one object a vCPU, given to `Engine.create_vcpu`.

    All methods run inside `enter()`, on its thread. Any exception but `ExternalAbort` and `Undefined` ends the entry and comes
    out of `enter()`.
    """

    def mmio_read(self, address: int, width: int) -> int:
        """Read `width` bytes (1, 2, 4, 8) at guest physical `address`; the value is unsigned."""

    def mmio_write(self, address: int, width: int, value: int) -> None:
        """Write `width` bytes (1, 2, 4, 8) at guest physical `address`."""

    def hypercall(self, call: Hypercall) -> None:
        """Carry out a hypercall. Not implemented here: raise `Undefined`."""

    def tlb_flush_all(self) -> None:
        """The guest asked for a TLB invalidation on all vCPUs (TLBI ..IS). The engine has flushed its own vCPU's.

        Not called by an engine with several vCPUs in the guest: it makes such requests itself, see `count_tlb_flushes`.
        """

    def count_tlb_flushes(self, made: int, handled: int, ipis: int) -> None:
        """What the engine did by itself for TLBI ..IS while several vCPUs were in the guest, since the last call.

        It is what TLB_FLUSH would have come to: `made` of this vCPU by others, `ipis` of them while it was in the guest, so that
        the requester waited for its acknowledgement; `handled` by this vCPU. Called at the end of `enter()` when there is any.
        """


class VcpuEngine(Protocol):
    """One vCPU's guest execution.

    `enter` and everything not marked "any thread" is called by the vCPU's own thread: its task on the event loop while it is
    outside, the slot's thread while it is inside. Never two at a time.
    """

    instructions: int
    """Guest instructions executed so far; grows only while `count_instructions(True)` holds."""
    counted_events: frozenset[CountedEvent]
    """What `count_events` can count."""
    live_pins: bool
    """`set_irq_line` and `set_fiq_line` may be called on any thread, and reach the running guest soon, without an exit."""

    def enter(self, budget: int = 0) -> Exit:
        """Run the guest until it has to leave; block the calling thread meanwhile (with the GIL released).

        With `budget`, leave with `BudgetExhausted` after that many instructions (rounded up to the engine's granularity:
        `Engine.exact_budgets`). A kick latched before the entry makes it return `Kicked` before the first guest instruction.
        """

    def kick(self) -> None:
        """Any thread. Make the running entry, or else the next one, return `Kicked` soon.

        The kick is latched: it holds until an entry has ended because of it or `clear_kick()` drops it, so it cannot be
        lost however it races with `enter`. Must not wait for the entry to end, nor call back.
        """

    def clear_kick(self) -> None:
        """Drop a latched kick. From here on, the next kick is latched for the next entry."""

    def set_irq_line(self, level: bool) -> None:
        """Drive the vCPU's interrupt pin (IRQ). Takes effect before the next guest instruction when called from a trap."""

    def set_fiq_line(self, level: bool) -> None:
        """Drive the second interrupt pin of an architecture that has one (Arm's FIQ), likewise. Others never call it."""

    def flush_tlb(self) -> None:
        """Forget every translation of guest addresses cached for this vCPU."""

    def count_instructions(self, on: bool) -> None:
        """Count guest instructions, or stop counting. Counting costs nothing while it is off."""

    def count_events(self, mask: int) -> None:
        """Count at least the events of `mask` (see `event_bit`), from the next guest instruction on.

        In a trap, that is the one behind the trapping instruction. Counting costs nothing a while after `mask` has become 0.
        """

    def event_counts(self) -> Sequence[int]:
        """How often each event happened while it was counted (see `event_index`), modulo 2**64.

        In a trap of a system register, the trapping instruction is carried out already, as far as the counts go.
        """

    def limit_events(self, limits: Sequence[EventLimit], reached: Callable[[], None]) -> None:
        """Call `reached` when one of `limits`, counted from what `event_counts` says now, is reached; forget all earlier ones.

        It is called once, inside `enter()` on its thread, right behind the instruction that made the count full: before the
        next one is executed. An engine that cannot be as exact may be late by the rest of its block. What `reached` raises comes
        out of `enter()`. All events limited are counted (`count_events`).
        """

    def set_counter_offset(self, name: str, offset: int) -> None:
        """Change a `Counter`'s offset (modulo 2**64)."""

    def reset(self) -> None:
        """Bring the registers to the architecture's reset values. Latched kicks stay."""

    def read_register(self, name: str) -> int:
        """Read a register by its lower-case name (`x0`, `sp`, `pc`, `pstate`); KeyError when there is none.

        Those that were given to the engine as `SystemRegister` are not the engine's, and no names here.
        """

    def write_register(self, name: str, value: int) -> None:
        """Write a register by its lower-case name; KeyError when there is none."""

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        """What the engine counts for this vCPU, as it is now. Any thread, without a lock: reads plain integers only.

        They are shown beside `ArchVcpu.figures()`, and must have other names than those. An engine that counts nothing has none.
        """

    def close(self) -> None:
        """Free what the vCPU holds. Called once, outside the guest."""


class Engine(Protocol):
    """What executes the guest of one VM."""

    name: str
    max_in_guest: int
    """How many vCPUs of one VM may be in guest mode at the same time."""
    exact_budgets: bool
    """True when `enter(budget=N)` executes N instructions exactly; else up to the end of the block."""
    served_mmio: ServedMmio | None
    """Serves registers without a trap; None: every access traps."""

    def map_memory(self, slot: MemorySlot) -> None:
        """Let the guest see `slot`; stores to a read-only one trap (`Traps.mmio_write`). Called with every vCPU outside."""

    def unmap_memory(self, slot: MemorySlot) -> None:
        """Take `slot` away from the guest. Called with every vCPU outside."""

    def trap_reads(self, slot: MemorySlot, on: bool) -> None:
        """Have loads from the read-only `slot` trap as its stores do, or (at first) read the memory itself. Any thread.

        Whoever calls it inside a vCPU's entry changes that vCPU's next load. Any other vCPU may go on as before until its
        `flush_tlb`. Instructions cannot be fetched from a slot whose reads trap: that is an external abort.
        """

    def create_vcpu(
        self, index: int, traps: Traps, registers: Sequence[SystemRegister], counters: Sequence[Counter]
    ) -> VcpuEngine:
        """Make vCPU `index` (0-based) with its traps, system registers and counters."""

    def close(self) -> None:
        """Free what the VM's engine holds, after every vCPU is closed."""


class EngineOptions(Record):
    """What an engine factory is given."""

    arch: str
    cpu: str
    clock: Clock
    options: dict[str, object] = field(default_factory=dict)
    """The rest of the machine's `[engine]` table, for the engine to check."""
    parallel: bool = False
    """Several of the VM's vCPUs are to be in guest mode at once, if the engine can: it says so in `Engine.max_in_guest`."""
    translation_cache: Path | None = None
    """The folder where an engine that translates guest code may keep translations for later runs; it may have to be made."""


EngineFactory = Callable[[EngineOptions], Engine]
