"""An arm64 vCPU that leaves for userspace: at memory-mapped accesses nobody claims, system events, and changes of its lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from avmm.plugin import Hypercall, Leave, SystemEvent, SystemRegister, UserspaceVm, Vcpu
from avmm_arm64.gic import Gic
from avmm_arm64.kvm_irqchip import PinsOnly
from avmm_arm64.pmu_options import PmuOptions
from avmm_arm64.psci import SMC64, Function, Psci, Result
from avmm_arm64.requests import ArmRequest
from avmm_arm64.sysregs import ABSENT
from avmm_arm64.timer import SystemCounter, TimerPpis
from avmm_arm64.vcpu import Arm64Vcpu

CPU_MODEL = "cortex-a57"
_SYSTEM_SUSPEND = 0x8400_000E
_PV_TIME_FEATURES, _PV_TIME_ST = 0xC500_0020, 0xC500_0021
"""Arm DEN 0057 section 3.2."""
_STOLEN_TIME_SIZE = 16


@dataclass(frozen=True, slots=True)
class MmioExit:
    """KVM_EXIT_MMIO: an access of `width` bytes at guest physical `address`; `value` is None for a read."""

    address: int
    width: int
    value: int | None


class SystemEventType(IntEnum):
    """KVM_SYSTEM_EVENT_*."""

    SHUTDOWN = 1
    RESET = 2
    CRASH = 3
    WAKEUP = 4
    SUSPEND = 5


@dataclass(frozen=True, slots=True)
class SystemEventExit:
    """KVM_EXIT_SYSTEM_EVENT."""

    kind: SystemEventType
    flags: int = 0


@dataclass(frozen=True, slots=True)
class IntrExit:
    """KVM_EXIT_INTR: the run fails with EINTR."""


class LineLevel(IntEnum):
    """The bits of `device_irq_level`."""

    VTIMER = 1 << 0
    PTIMER = 1 << 1
    PMU = 1 << 2


@dataclass(slots=True)
class FirmwareFeatures:
    """What of the firmware interface a vCPU offers."""

    psci: bool = True
    """PSCI 0.2 or later; without it every PSCI call is NOT_SUPPORTED."""
    system_suspend: Callable[[], bool] = lambda: False
    """Whether SYSTEM_SUSPEND leaves for userspace (KVM_CAP_ARM_SYSTEM_SUSPEND), or is not supported."""
    stolen_time: Callable[[], int | None] = lambda: None
    """The guest physical address of the stolen-time structure."""


class KvmVcpu(Arm64Vcpu):
    """The real vCPU, with userspace where the rest of a machine would be."""

    def __init__(
        self,
        vcpu: Vcpu,
        vm: UserspaceVm,
        gic: Gic,
        psci: Psci,
        counters: tuple[SystemCounter, SystemCounter],
        ppis: TimerPpis,
        pmu: PmuOptions,
        features: FirmwareFeatures,
        mpidr: int,
    ) -> None:
        """Arguments as for `Arm64Vcpu`; `mpidr` is MPIDR_EL1, which goes by the id that the vCPU's user chose."""
        super().__init__(vcpu, vm, CPU_MODEL, gic, psci, counters, ppis, pmu)
        self.mpidr = mpidr
        self.system_registers = [_with_mpidr(register, mpidr) for register in self.system_registers]
        self._userspace, self._features, self._ppis = vm, features, ppis
        self.irqchip = gic
        self._own_irqchip = not isinstance(gic, PinsOnly)
        if not self._own_irqchip:
            self.system_registers = [_without_gic(register) for register in self.system_registers]
        self.mmio_data = 0
        """What stands in kvm_run for the data of an access, 8 bytes: what the guest stored last, or loaded from a device."""
        self.waits_of_firmware = 0
        """CPU_SUSPEND calls: they end an entry as WFI does, without being one."""
        self._completed: list[MmioExit] = []
        """Accesses that userspace has carried out: when their instruction is executed again, it does not leave for them."""
        self.device_irq_level = 0
        """The lines of timers and PMU, as `LineLevel` bits, as userspace was last told. Without interrupt controller only."""
        self._lines = 0

    # Memory-mapped accesses

    def mmio_read(self, address: int, width: int) -> int:
        if self._bus.find(address) is not None:
            return self._keep(width, super().mmio_read(address, width))
        access = MmioExit(address, width, None)
        if self._completes(access):
            return self.mmio_data & (1 << 8 * width) - 1  # what userspace left there: all of it
        raise Leave(access)

    def mmio_write(self, address: int, width: int, value: int) -> None:
        if self._bus.find(address) is not None:
            super().mmio_write(address, width, value)
            return
        access = MmioExit(address, width, value)
        if not self._completes(access):
            self._keep(width, value)
            raise Leave(access)

    def _keep(self, width: int, value: int) -> int:
        self.mmio_data = self.mmio_data & ~((1 << 8 * width) - 1) | value
        return value

    def _completes(self, access: MmioExit) -> bool:
        if not self._completed or self._completed[0] != access:
            return False
        del self._completed[0]
        return True

    def complete(self, accesses: Sequence[MmioExit]) -> MmioExit | None:
        """Execute once more, outside any run, the one instruction that left for `accesses`; its next access, if it has more."""
        self._completed = list(accesses)
        self._pins = None
        self.engine.set_irq_line(level=False)  # an interrupt comes after the instruction, not instead
        self.engine.set_fiq_line(level=False)
        self.engine.clear_kick()
        try:
            self._vcpu.enter_guest(1)
        except Leave as leave:
            return leave.why if isinstance(leave.why, MmioExit) else None
        finally:
            self._completed = []
        return None

    # Firmware calls

    def hypercall(self, call: Hypercall) -> None:
        function = call.argument(0) & 0xFFFF_FFFF
        if function in (_PV_TIME_FEATURES, _PV_TIME_ST):
            call.result(0, self._stolen_time(function, call.argument(1) & 0xFFFF_FFFF))
        elif function >> 24 & ~0x40 == 0x84 and not self._features.psci:
            call.result(0, Result.NOT_SUPPORTED)
        elif function & ~SMC64 == _SYSTEM_SUSPEND and self._features.system_suspend():
            self.leave(SystemEventExit(SystemEventType.SUSPEND))  # x0 is userspace's to set
        elif function == Function.FEATURES and call.argument(1) & 0xFFFF_FFFF & ~SMC64 == _SYSTEM_SUSPEND:
            call.result(0, Result.SUCCESS if self._features.system_suspend() else Result.NOT_SUPPORTED)
        else:
            super().hypercall(call)

    def _stolen_time(self, function: int, argument: int) -> int:
        address = self._features.stolen_time()
        if address is None:
            return Result.NOT_SUPPORTED
        if function == _PV_TIME_FEATURES:
            return Result.SUCCESS if argument in (_PV_TIME_FEATURES, _PV_TIME_ST) else Result.NOT_SUPPORTED
        # Revision and attributes 0, no time: a vCPU that runs has its slot to itself.
        self._vm.memory.write(address, bytes(_STOLEN_TIME_SIZE))
        return address

    def suspend(self) -> None:
        self.waits_of_firmware += 1
        super().suspend()

    def leave(self, why: object) -> None:
        """Have the run end after the trap that is being handled."""
        self._userspace.slot(self._vcpu).leave = Leave(why)
        self._vcpu.make_request_and_kick(ArmRequest.IRQ_PENDING)

    # Lines

    def _set_ppi(self, intid: int, level: bool) -> None:
        if self._own_irqchip:
            super()._set_ppi(intid, level)
        else:
            self.set_line(LineLevel.VTIMER if intid == self._ppis.virtual else LineLevel.PTIMER, level)

    def _set_pmu_line(self, level: bool) -> None:
        if self._own_irqchip:
            super()._set_pmu_line(level)
        else:
            self.set_line(LineLevel.PMU, level)

    def set_line(self, line: LineLevel, level: bool) -> None:
        """A line that userspace has to know of changed; the run ends for it."""
        self._lines = self._lines | line if level else self._lines & ~line
        self._vcpu.make_request_and_kick(ArmRequest.IRQ_PENDING)

    def publish(self) -> None:
        """Tell userspace the lines, as every run does at its end (kvm_timer_update_run, kvm_pmu_update_run)."""
        self.device_irq_level = self._lines

    def flush_hwstate(self) -> None:
        super().flush_hwstate()
        if self._userspace.slot(self._vcpu).suspended and super().runnable():
            raise Leave(SystemEventExit(SystemEventType.WAKEUP))
        if self._lines != self.device_irq_level:
            raise Leave(IntrExit())

    def runnable(self) -> bool:
        return super().runnable() or self._lines != self.device_irq_level


def system_event_exit(event: SystemEvent, detail: str) -> SystemEventExit:
    """The exit for what the guest asks of the whole machine."""
    match event:
        case SystemEvent.SHUTDOWN:
            return SystemEventExit(SystemEventType.SHUTDOWN)
        case SystemEvent.RESET:
            return SystemEventExit(SystemEventType.RESET, flags=int(detail.startswith("SYSTEM_RESET2")))
        case SystemEvent.CRASH:
            return SystemEventExit(SystemEventType.CRASH)


def _with_mpidr(register: SystemRegister, mpidr: int) -> SystemRegister:
    return replace(register, constant=mpidr) if register.name == "MPIDR_EL1" else register


def _without_gic(register: SystemRegister) -> SystemRegister:
    """ICC_* registers do not exist without interrupt controller; all others stay as they are."""
    if not register.name.startswith("ICC_") or register.name in ABSENT:
        return register
    return SystemRegister(register.name, register.encoding)
