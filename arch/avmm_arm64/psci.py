"""The Power State Coordination Interface (Arm DEN 0022), version 1.1, as Linux's KVM answers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Protocol

from avmm.plugin import SystemEvent

AFFINITY_MASK = 0xFF_00FF_FFFF
"""Aff3 (bits 39:32), Aff2, Aff1, Aff0 (bits 23:0) of an MPIDR."""
SMC64 = 1 << 30
_VENDOR_RESET = 1 << 31


class Function(IntEnum):
    """Function identifiers, in their 32-bit form (DEN 0022 section 5.1)."""

    VERSION = 0x8400_0000
    CPU_SUSPEND = 0x8400_0001
    CPU_OFF = 0x8400_0002
    CPU_ON = 0x8400_0003
    AFFINITY_INFO = 0x8400_0004
    MIGRATE_INFO_TYPE = 0x8400_0006
    SYSTEM_OFF = 0x8400_0008
    SYSTEM_RESET = 0x8400_0009
    FEATURES = 0x8400_000A
    SYSTEM_RESET2 = 0x8400_0012


class Result(IntEnum):
    """Return codes (DEN 0022 section 5.2.2)."""

    SUCCESS = 0
    NOT_SUPPORTED = -1
    INVALID_PARAMETERS = -2
    ALREADY_ON = -4
    INTERNAL_FAILURE = -6


VERSION = 1 << 16 | 1
AFFINITY_ON, AFFINITY_OFF = 0, 1
TRUSTED_OS_NOT_PRESENT = 2
"""MIGRATE_INFO_TYPE: no Trusted OS, nothing to migrate."""

_WITH_SMC64 = {Function.CPU_SUSPEND, Function.CPU_ON, Function.AFFINITY_INFO, Function.SYSTEM_RESET2}
_SMCCC_VERSION = 0x8000_0000
"""PSCI_FEATURES tells of this one too (DEN 0022 section 5.15)."""
_AFFINITY_SHIFTS = (0, 8, 16, 32)


class PsciCpu(Protocol):
    """A vCPU as PSCI sees it."""

    mpidr: int

    @property
    def is_off(self) -> bool:
        """True while it is powered off."""

    def turn_on(self, entry: int, context: int) -> None:
        """Reset it and start it at guest physical address `entry` with `context` in x0."""

    def turn_off(self) -> None:
        """Keep it from running."""

    def suspend(self) -> None:
        """It is the caller: let it sleep behind the call until it has an interrupt to run for, as WFI does."""


class Psci:
    """The firmware calls of one VM. Owner: the device lock, so that of two CPU_ON one finds the vCPU on already.

    As in KVM, and other than the document allows: CPU_ON takes any entry point (a bad one faults in the guest), and there is
    no ON_PENDING, because a vCPU counts as on from the call.
    """

    def __init__(self, cpus: Sequence[PsciCpu], system_event: Callable[[SystemEvent, str], None]) -> None:
        self._cpus, self._system_event = cpus, system_event
        calls: dict[Function, Callable[[PsciCpu, int, int, int], int]] = {
            Function.VERSION: lambda *_: VERSION,
            Function.CPU_SUSPEND: self._cpu_suspend,
            Function.CPU_OFF: self._cpu_off,
            Function.CPU_ON: self._cpu_on,
            Function.AFFINITY_INFO: self._affinity_info,
            Function.MIGRATE_INFO_TYPE: lambda *_: TRUSTED_OS_NOT_PRESENT,
            Function.SYSTEM_OFF: lambda *_: self._system(SystemEvent.SHUTDOWN, "SYSTEM_OFF"),
            Function.SYSTEM_RESET: lambda *_: self._system(SystemEvent.RESET, "SYSTEM_RESET"),
            Function.SYSTEM_RESET2: self._system_reset2,
            Function.FEATURES: self._features,
        }
        self._calls = {int(function): call for function, call in calls.items()}
        self._calls |= {function | SMC64: calls[function] for function in _WITH_SMC64}

    def call(self, caller: PsciCpu, function: int, first: int, second: int, third: int) -> int:
        """Carry out `function` with x1 to x3; the result for x0, NOT_SUPPORTED for what is not PSCI."""
        call = self._calls.get(function)
        if call is None:
            return Result.NOT_SUPPORTED
        if not function & SMC64:
            return call(caller, first & 0xFFFF_FFFF, second & 0xFFFF_FFFF, third & 0xFFFF_FFFF)
        return call(caller, first, second, third)

    def _features(self, caller: PsciCpu, function: int, *_: int) -> int:
        """PSCI_FEATURES (DEN 0022 section 5.15)."""
        known = function in self._calls or function == _SMCCC_VERSION
        return Result.SUCCESS if known else Result.NOT_SUPPORTED

    def _cpu_suspend(self, caller: PsciCpu, *_: int) -> int:
        """CPU_SUSPEND (DEN 0022 section 5.4): standby, also where a power-down was asked for."""
        caller.suspend()
        return Result.SUCCESS

    def _cpu_off(self, caller: PsciCpu, *_: int) -> int:
        """CPU_OFF (DEN 0022 section 5.5)."""
        caller.turn_off()
        return Result.SUCCESS

    def _cpu_on(self, caller: PsciCpu, target: int, entry: int, context: int) -> int:
        """CPU_ON (DEN 0022 section 5.6)."""
        for cpu in self._cpus:
            if cpu.mpidr & AFFINITY_MASK == target:
                if not cpu.is_off:
                    return Result.ALREADY_ON
                cpu.turn_on(entry, context)
                return Result.SUCCESS
        return Result.INVALID_PARAMETERS

    def _affinity_info(self, caller: PsciCpu, target: int, level: int, *_: int) -> int:
        """AFFINITY_INFO (DEN 0022 section 5.7): ON when any vCPU that shares the affinity from `level` up is on."""
        if target & ~AFFINITY_MASK or level > 3:
            return Result.INVALID_PARAMETERS
        mask = AFFINITY_MASK & ~((1 << _AFFINITY_SHIFTS[level]) - 1)
        matching = [cpu for cpu in self._cpus if cpu.mpidr & mask == target & mask]
        if not matching:
            return Result.INVALID_PARAMETERS
        return AFFINITY_OFF if all(cpu.is_off for cpu in matching) else AFFINITY_ON

    def _system_reset2(self, caller: PsciCpu, kind: int, *_: int) -> int:
        """SYSTEM_RESET2 (DEN 0022 section 5.12): a warm reset (0), or a vendor's own (bit 31)."""
        kind &= 0xFFFF_FFFF
        if kind and not kind & _VENDOR_RESET:
            return Result.INVALID_PARAMETERS
        return self._system(SystemEvent.RESET, f"SYSTEM_RESET2 {kind:#x}")

    def _system(self, event: SystemEvent, detail: str) -> int:
        """The whole machine goes down; the result is seen only by a guest that is made to run on."""
        self._system_event(event, detail)
        return Result.INTERNAL_FAILURE
