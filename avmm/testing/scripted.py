"""A guest without instructions: a Python generator says what a vCPU does next.

    def guest(cpu: ScriptedVcpu) -> Script:
        value = yield MmioRead(0x1000)
        yield MmioWrite(0x1004, value + 1)
        yield Spin()

Everything is as it is with a real engine (entries, kicks, exits, traps on the slot's thread), so the rest of avmm cannot tell.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import cast

from avmm.config import MAX_VCPUS
from avmm.engine import Counter, Engine, EngineOptions, SystemRegister, Traps
from avmm.memory import MemorySlot
from avmm.option_table import OptionTable
from avmm.served import ServedMmio
from avmm.testing.scripted_vcpu import Program, ScriptedVcpu

_MAX_IN_GUEST = 64


class ScriptedEngine:
    """The engine of scripted vCPUs: vCPU n runs `programs[n]`, the last program serving all further vCPUs."""

    name = "scripted"
    exact_budgets = True
    served_mmio: ServedMmio | None = None

    def __init__(self, *programs: Program, max_in_guest: int = _MAX_IN_GUEST) -> None:
        self._programs: tuple[Program, ...] = programs or ((),)
        self.max_in_guest = max_in_guest
        self.vcpus: list[ScriptedVcpu] = []
        self.memory: list[MemorySlot] = []
        self.reads_trapped = set[int]()
        """The addresses of the slots whose reads trap."""
        self.closed = False

    def map_memory(self, slot: MemorySlot) -> None:
        self.memory.append(slot)

    def unmap_memory(self, slot: MemorySlot) -> None:
        self.memory.remove(slot)

    def trap_reads(self, slot: MemorySlot, on: bool) -> None:
        """Only to be remembered: a script's accesses all trap."""
        assert slot in self.memory, "only mapped memory traps"
        assert slot.read_only, "only reads of read-only memory trap"
        if on:
            self.reads_trapped.add(slot.address)
        else:
            self.reads_trapped.discard(slot.address)

    def create_vcpu(
        self, index: int, traps: Traps, registers: Sequence[SystemRegister], counters: Sequence[Counter]
    ) -> ScriptedVcpu:
        program = self._programs[min(index, len(self._programs) - 1)]
        vcpu = ScriptedVcpu(index, program, traps, registers)
        self.vcpus.append(vcpu)
        return vcpu

    def close(self) -> None:
        assert all(vcpu.closed for vcpu in self.vcpus), "an engine is closed after its vCPUs"
        self.closed = True


def create_engine(options: EngineOptions) -> Engine:
    """The plugin `scripted`. Options: `program` or `programs` (one a vCPU), each a program or the `module:name` of one;
    `max_in_guest`, how many vCPUs may be in the guest at once.
    """
    table = OptionTable(options.options, "engine", "the scripted engine", ("program", "programs", "max_in_guest"))
    programs = table.values.get("programs", [table.values.get("program", ())])
    if not isinstance(programs, Sequence) or isinstance(programs, str):
        raise table.is_not("programs", programs, "a list of programs")
    max_in_guest = table.integer("max_in_guest", 1, MAX_VCPUS) or _MAX_IN_GUEST
    return ScriptedEngine(*(_program(table, program) for program in programs), max_in_guest=max_in_guest)


def _program(table: OptionTable, given: object) -> Program:
    if isinstance(given, str):
        module, _, name = given.partition(":")
        try:
            given = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise table.error("program", f"{given}: {error}") from None
    if not callable(given) and not isinstance(given, Iterable):
        raise table.is_not("program", given, "a generator function, a list of steps, or the module:name of one")
    return cast(Program, given)
