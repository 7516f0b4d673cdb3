# SPDX-License-Identifier: GPL-2.0-or-later
"""The self-check at start-up: what the shim knows about the library is tried on a guest of a few instructions."""

from __future__ import annotations

import mmap
from functools import cache

from avmm.plugin import HALTED, EngineError, ExternalAbort, Hypercall
from avmm_unicorn import library

RAM, NOTHING = 0x4000_0000, 0x7000_0000
VECTORS = 0x800
# One page: the program at its start, its vectors at 0x800; every vector is `wfi; b .`.
SVC_PROGRAM = bytes.fromhex("a1b400d4")  # svc #0x5a5
ABORT_PROGRAM = bytes.fromhex("200040f9")  # ldr x0, [x1]
WFI_AND_SPIN = bytes.fromhex("7f2003d500000014")
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


def _run(program: bytes) -> dict[str, int]:
    """Run `program` until its exception; the registers then, and the exit as `halted`."""
    from avmm_unicorn._native import Machine, Vcpu

    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page[0 : len(program)] = program
    for vector in range(VECTORS, VECTORS + 0x800, 0x80):
        page[vector : vector + len(WFI_AND_SPIN)] = WFI_AND_SPIN
    machine = Machine(0, 1 << 20)
    machine.map(RAM, page, read_only=False)
    vcpu = Vcpu(machine, 0, _Traps())
    try:
        vcpu.write_register("pc", RAM)
        vcpu.write_register("x1", NOTHING)
        vcpu.write_register("vbar_el1", RAM + VECTORS)
        halted = vcpu.enter() is HALTED
        names = ("pc", "esr_el1", "elr_el1", "far_el1", "spsr_el1")
        return {name: vcpu.read_register(name) for name in names} | {"halted": int(halted)}
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
    _expect("SVC", _run(SVC_PROGRAM), halted=1, pc=entered, esr_el1=ESR_SVC, elr_el1=RAM + 4, spsr_el1=0x3C5)
    _expect("an abort", _run(ABORT_PROGRAM), halted=1, pc=entered, esr_el1=ESR_ABORT, elr_el1=RAM, far_el1=NOTHING)
