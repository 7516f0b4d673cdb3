"""The system registers that the machine provides: identification, GIC CPU interface, timers, and what is absent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from avmm.plugin import DeviceLock, ExitReason, SystemRegister, Undefined
from avmm_arm64.gic import CpuInterface, Gic, GicV2
from avmm_arm64.gic.cpu_interface import SRE
from avmm_arm64.layout import COUNTER_HZ
from avmm_arm64.pmu import Pmu
from avmm_arm64.pmu_registers import pmu_registers
from avmm_arm64.timer import Timer, VcpuTimers

Encoding = tuple[int, int, int, int, int]
Read = Callable[[], int]
Write = Callable[[int], None]
Allowed = Callable[[bool], bool]

# CNTKCTL_EL1 (Arm ARM D13.11.15): what EL0 may reach.
EL0PCTEN, EL0VCTEN, EL0VTEN, EL0PTEN = 1 << 0, 1 << 1, 1 << 8, 1 << 9
CNTKCTL_MASK = 0x3FF

CNTPCT_EL0: Encoding = (3, 3, 14, 0, 1)
CNTVCT_EL0: Encoding = (3, 3, 14, 0, 2)

_ID_AA64PFR0_GICV3 = 1 << 24
"""EL0 and EL1 are AArch64 only, no EL2, no EL3, GIC system registers (version 3.0)."""
ID_AA64PFR0: dict[str, int] = {
    "cortex-a57": _ID_AA64PFR0_GICV3 | 0x11,
    "cortex-a72": _ID_AA64PFR0_GICV3 | 0x11,
    # Half-precision floating point (FP, AdvSIMD = 1); no SVE.
    "max": _ID_AA64PFR0_GICV3 | 0x11_0011,
}
_ID_AA64DFR0_NO_PMU = 0x1030_5006
"""Debug architecture 8.0, six breakpoints, four watchpoints, two context-aware; PMUVer, bits 11:8, is the PMU's."""
PMU_IDENTITY = {"cortex-a57": 0x4101, "cortex-a72": 0x4102, "max": 0x4100}
"""PMCR_EL0.IMP and IDCODE."""

CPU_MODELS = tuple(ID_AA64PFR0)

ABSENT: dict[str, Encoding] = {
    **{f"ICC_AP0R{n}_EL1": (3, 0, 12, 8, 4 + n) for n in (1, 2, 3)},
    **{f"ICC_AP1R{n}_EL1": (3, 0, 12, 9, n) for n in (1, 2, 3)},
    "ZCR_EL1": (3, 0, 1, 2, 0),
}
"""Registers this machine does not have though its engine might: Undefined, and counted by name.

With five priority bits there is one active priorities register a group (IHI 0069 12.2.5); there is no SVE."""

_SYSTEM_REGISTER = int(ExitReason.SYSTEM_REGISTER)  # a plain integer: every trap counts


class Owner(Protocol):
    """The vCPU the registers belong to."""

    index: int
    mpidr: int
    cntkctl: int
    timers: VcpuTimers
    pmu: Pmu | None
    exits_by_reason: list[int]

    def current_el(self) -> int:
        """The exception level of the access, 0 or 1."""

    def undefined_register(self, name: str) -> None:
        """Count an access to a register that this machine does not have."""


class _Table:
    """Collects registers; each handler counts itself and holds the device lock."""

    def __init__(self, lock: DeviceLock, exits_by_reason: list[int]) -> None:
        self._lock, self._exits = lock, exits_by_reason
        self.registers: list[SystemRegister] = []

    def add(
        self,
        name: str,
        encoding: Encoding,
        read: Read | None = None,
        write: Write | None = None,
        *,
        el0: bool = False,
        allowed_at_el0: Allowed | None = None,
    ) -> None:
        self.registers.append(
            SystemRegister(
                name,
                encoding,
                None if read is None else self._locked_read(read),
                None if write is None else self._locked_write(write),
                el0=el0,
                allowed_at_el0=None if allowed_at_el0 is None else self._counted(allowed_at_el0),
            )
        )

    def constant(self, name: str, encoding: Encoding, value: int, write: Write | None = None) -> None:
        self.registers.append(SystemRegister(name, encoding, None, write, constant=value))

    def _locked_read(self, read: Read) -> Read:
        lock, exits = self._lock, self._exits

        def locked() -> int:
            exits[_SYSTEM_REGISTER] += 1
            with lock:
                return read()

        return locked

    def _locked_write(self, write: Write) -> Write:
        lock, exits = self._lock, self._exits

        def locked(value: int) -> None:
            exits[_SYSTEM_REGISTER] += 1
            with lock:
                write(value)

        return locked

    def _counted(self, allowed_at_el0: Allowed) -> Allowed:
        exits = self._exits

        def counted(is_read: bool) -> bool:
            allowed = allowed_at_el0(is_read)
            exits[_SYSTEM_REGISTER] += not allowed
            return allowed

        return counted


def system_registers(vcpu: Owner, cpu: str, gic: Gic | GicV2, lock: DeviceLock) -> list[SystemRegister]:
    """All registers of one vCPU of model `cpu`. With a GICv2 there is no GIC among them."""
    table = _Table(lock, vcpu.exits_by_reason)
    table.constant("MPIDR_EL1", (3, 0, 0, 0, 5), vcpu.mpidr)
    gicv3 = isinstance(gic, Gic)
    table.constant("ID_AA64PFR0_EL1", (3, 0, 0, 4, 0), ID_AA64PFR0[cpu] & ~(0 if gicv3 else _ID_AA64PFR0_GICV3))
    version = 0 if vcpu.pmu is None else vcpu.pmu.version
    table.constant("ID_AA64DFR0_EL1", (3, 0, 0, 5, 0), _ID_AA64DFR0_NO_PMU | version << 8)
    if isinstance(gic, Gic):
        _add_cpu_interface(table, gic.interfaces[vcpu.index], gic, vcpu.index)
    _add_timers(table, vcpu)
    absent = dict(ABSENT)
    for register in pmu_registers(vcpu, vcpu.pmu or Pmu(lock, _ignore)):
        if vcpu.pmu is None:
            absent[register.name] = register.encoding
        else:
            table.add(
                register.name,
                register.encoding,
                register.read,
                register.write,
                el0=register.el0,
                allowed_at_el0=register.allowed_at_el0,
            )
    for name, encoding in absent.items():
        table.add(name, encoding, *_absent(vcpu, name), el0=encoding[1] == 3)
    return table.registers


def _absent(vcpu: Owner, name: str) -> tuple[Read, Write]:
    def read() -> int:
        vcpu.undefined_register(name)
        raise Undefined

    def write(value: int) -> None:
        vcpu.undefined_register(name)
        raise Undefined

    return read, write


def _add_cpu_interface(table: _Table, cpu: CpuInterface, gic: Gic, index: int) -> None:
    """ICC_*_EL1 (IHI 0069 12.2)."""
    add = table.add
    add("ICC_PMR_EL1", (3, 0, 4, 6, 0), cpu.read_pmr, cpu.write_pmr)
    add("ICC_IAR0_EL1", (3, 0, 12, 8, 0), cpu.read_iar0)
    add("ICC_EOIR0_EL1", (3, 0, 12, 8, 1), None, cpu.write_eoir0)
    add("ICC_HPPIR0_EL1", (3, 0, 12, 8, 2), cpu.read_hppir0)
    add("ICC_BPR0_EL1", (3, 0, 12, 8, 3), cpu.read_bpr0, cpu.write_bpr0)
    add("ICC_AP0R0_EL1", (3, 0, 12, 8, 4), lambda: cpu.read_apr(0), lambda value: cpu.write_apr(0, value))
    add("ICC_AP1R0_EL1", (3, 0, 12, 9, 0), lambda: cpu.read_apr(1), lambda value: cpu.write_apr(1, value))
    add("ICC_DIR_EL1", (3, 0, 12, 11, 1), None, cpu.write_dir)
    add("ICC_RPR_EL1", (3, 0, 12, 11, 3), cpu.read_rpr)
    add("ICC_SGI1R_EL1", (3, 0, 12, 11, 5), None, lambda value: gic.send_sgi(index, value, group1=True))
    add("ICC_ASGI1R_EL1", (3, 0, 12, 11, 6), None, lambda value: gic.send_sgi(index, value, group1=False))
    add("ICC_SGI0R_EL1", (3, 0, 12, 11, 7), None, lambda value: gic.send_sgi(index, value, group1=False))
    add("ICC_IAR1_EL1", (3, 0, 12, 12, 0), cpu.read_iar1)
    add("ICC_EOIR1_EL1", (3, 0, 12, 12, 1), None, cpu.write_eoir1)
    add("ICC_HPPIR1_EL1", (3, 0, 12, 12, 2), cpu.read_hppir1)
    add("ICC_BPR1_EL1", (3, 0, 12, 12, 3), cpu.read_bpr1, cpu.write_bpr1)
    add("ICC_CTLR_EL1", (3, 0, 12, 12, 4), cpu.read_ctlr, cpu.write_ctlr)
    table.constant("ICC_SRE_EL1", (3, 0, 12, 12, 5), SRE, _ignore)
    add("ICC_IGRPEN0_EL1", (3, 0, 12, 12, 6), cpu.read_igrpen0, cpu.write_igrpen0)
    add("ICC_IGRPEN1_EL1", (3, 0, 12, 12, 7), cpu.read_igrpen1, cpu.write_igrpen1)


def _ignore(value: int) -> None:
    """A register that reads as one and ignores writes."""


def _add_timers(table: _Table, vcpu: Owner) -> None:
    """CNTFRQ_EL0, CNTKCTL_EL1 and the timers' registers (Arm ARM D13.11). The counters themselves are the engine's."""
    timers = vcpu.timers

    def write_cntkctl(value: int) -> None:
        vcpu.cntkctl = value & CNTKCTL_MASK

    table.add("CNTFRQ_EL0", (3, 3, 14, 0, 0), lambda: COUNTER_HZ, el0=True, allowed_at_el0=_gate(vcpu, EL0PCTEN | EL0VCTEN))
    table.add("CNTKCTL_EL1", (3, 0, 14, 1, 0), lambda: vcpu.cntkctl, write_cntkctl)
    for letter, crm, timer, gate in (("P", 2, timers.physical, EL0PTEN), ("V", 3, timers.virtual, EL0VTEN)):
        allowed = _gate(vcpu, gate)
        for name, op2, read, write in _timer_handlers(timers, timer):
            table.add(f"CNT{letter}_{name}_EL0", (3, 3, 14, crm, op2), read, write, el0=True, allowed_at_el0=allowed)


def _timer_handlers(timers: VcpuTimers, timer: Timer) -> list[tuple[str, int, Read, Write]]:
    def reader(read: Read) -> Read:
        def updated() -> int:
            # What is due by now has its line high before the guest sees that it is due.
            timers.update_due()
            return read()

        return updated

    def writer(write: Write) -> Write:
        def updating(value: int) -> None:
            write(value)
            timers.update()

        return updating

    return [
        ("TVAL", 0, reader(timer.read_tval), writer(timer.write_tval)),
        ("CTL", 1, reader(timer.read_ctl), writer(timer.write_ctl)),
        ("CVAL", 2, reader(timer.read_cval), writer(timer.write_cval)),
    ]


def _gate(vcpu: Owner, bits: int) -> Allowed:
    """EL0 is let through when one of `bits` is set in CNTKCTL_EL1."""
    return lambda is_read: bool(vcpu.cntkctl & bits)
