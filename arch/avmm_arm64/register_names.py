"""The registers of a vCPU that one can look at, by the names of the Arm Architecture Reference Manual in lower case."""

from __future__ import annotations

GENERAL = (*(f"x{number}" for number in range(31)), "sp", "pc", "pstate")
SYSTEM = (
    "sp_el0",
    "sp_el1",
    "elr_el1",
    "spsr_el1",
    "esr_el1",
    "far_el1",
    "vbar_el1",
    "sctlr_el1",
    "cpacr_el1",
    "ttbr0_el1",
    "ttbr1_el1",
    "tcr_el1",
    "mair_el1",
    "amair_el1",
    "contextidr_el1",
    "par_el1",
    "tpidr_el0",
    "tpidrro_el0",
    "tpidr_el1",
    "csselr_el1",
    "mdscr_el1",
    "afsr0_el1",
    "afsr1_el1",
)
REGISTER_NAMES = GENERAL + SYSTEM
