# SPDX-License-Identifier: GPL-2.0-or-later
"""The self-check at start-up: what the shim knows about the library is tried on a guest of a few instructions."""

from __future__ import annotations

import mmap
from collections.abc import Generator
from contextlib import closing
from functools import cache

from avmm.plugin import HALTED, EngineError, ExternalAbort, Hypercall
from avmm_unicorn import library

CPU_MAX = 3
RAM, NOTHING = 0x4000_0000, 0x7000_0000
VECTORS, PROGRAM_BYTES = 0x800, 0x40
# One page: the programs at its start, their vectors at 0x800; every vector is `wfi; b .`.
SVC_PROGRAM = bytes.fromhex("a1b400d4")  # svc #0x5a5
ABORT_PROGRAM = bytes.fromhex("200040f9")  # ldr x0, [x1]
WFI_AND_SPIN = bytes.fromhex("7f2003d500000014")
ATOMICS_PROGRAM = bytes.fromhex("20087fc8200823c8220020f8")  # ldxp x0, x2, [x1]; stxp w3, x0, x2, [x1]; ldadd x0, x2, [x1]
SVE_PROGRAM = bytes.fromhex("e0e31825")  # ptrue p0.b
ESR_UNDEFINED = 0x0200_0000
ESR_SVC = 0x5600_05A5
ESR_ABORT = 0x9600_0010  # data abort from the same level, synchronous external abort, a read


class _Traps:
    """Nothing is there: every access is an external abort."""

    def mmio_read(self, address: int, width: int) -> int:
        raise ExternalAbort

    def mmio_write(self, address: int, width: int, value: int) -> None:
        raise ExternalAbort

    def hypercall(self, call: Hypercall) -> None:
        raise ExternalAbort

    def tlb_flush_all(self) -> None:
        pass

    def count_tlb_flushes(self, made: int, handled: int, ipis: int) -> None:
        pass


class _Device(_Traps):
    """Something is everywhere."""

    def mmio_read(self, address: int, width: int) -> int:
        return 0

    def mmio_write(self, address: int, width: int, value: int) -> None:
        pass


def _run(*programs: bytes, parallel: bool = False) -> Generator[dict[str, int], None, None]:
    """Run each program until its exception: the registers then, and `halted`; `alone` counts instructions with others stopped.

    All of them on one vCPU, since making one takes most of the time; on CPU_MAX, which can do what the others can.
    """
    from avmm_unicorn._native import Machine, Vcpu

    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for vector in range(VECTORS, VECTORS + 0x800, 0x80):
        page[vector : vector + len(WFI_AND_SPIN)] = WFI_AND_SPIN
    machine = Machine(CPU_MAX, 1 << 20, parallel)
    machine.map(RAM, page, read_only=False)
    vcpu = Vcpu(machine, 0, _Device() if parallel else _Traps())
    try:
        vcpu.write_register("x1", NOTHING)
        vcpu.write_register("vbar_el1", RAM + VECTORS)
        for number, program in enumerate(programs):
            start = number * PROGRAM_BYTES
            page[start : start + len(program)] = program
            vcpu.write_register("pc", RAM + start)
            halted = vcpu.enter() is HALTED
            names = ("pc", "esr_el1", "elr_el1", "far_el1", "spsr_el1")
            found = {name: vcpu.read_register(name) for name in names}
            yield found | {"halted": int(halted), "alone": vcpu.alone_instructions}
    finally:
        vcpu.close()
        machine.close()


def _expect(what: str, found: dict[str, int], **expected: int) -> None:
    for name, value in expected.items():
        if found[name] != value:
            raise EngineError(
                f"unicorn engine: needs unicorn {library.VERSION}, cannot use {library.installed_version()}:"
                f" after {what} {name} is {found[name]:#x}, not {value:#x}"
            )


@cache
def check() -> None:
    """Load the library, run a known SVC and a known abort; EngineError with one line when the outcome is another."""
    library.load()
    entered = RAM + VECTORS + 0x200 + 4  # behind the WFI of the vector "current level with SP_ELx, synchronous"
    with closing(_run(SVC_PROGRAM, ABORT_PROGRAM, SVE_PROGRAM)) as runs:
        _expect("SVC", next(runs), halted=1, pc=entered, esr_el1=ESR_SVC, elr_el1=RAM + 4, spsr_el1=0x3C5)
        _expect("an abort", next(runs), halted=1, pc=entered, esr_el1=ESR_ABORT, elr_el1=RAM + PROGRAM_BYTES, far_el1=NOTHING)
        # The identification registers that decide what is decoded are where they are thought to be.
        undefined = {"esr_el1": ESR_UNDEFINED, "elr_el1": RAM + 2 * PROGRAM_BYTES}
        _expect("an SVE instruction", next(runs), halted=1, pc=entered, **undefined)


@cache
def check_parallel() -> None:
    """Try whether atomics are translated for vCPUs in parallel; EngineError when not.

    On what is no memory only a vCPU that is alone can make them; translated for one vCPU at a time, they would not ask for that.
    A pair and a single word: the library looks at two places for how to translate them.
    """
    check()
    with closing(_run(ATOMICS_PROGRAM, parallel=True)) as runs:
        _expect("atomics on a device", next(runs), halted=1, alone=2)


def parallel_works() -> bool:
    """Whether `check_parallel` finds nothing wrong."""
    try:
        check_parallel()
    except EngineError:
        return False
    return True
