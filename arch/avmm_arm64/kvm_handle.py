"""One vCPU of a `KvmMachine` as its user holds it: what KVM keeps for a vCPU's file descriptor."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from errno import EINTR, EINVAL, ENOEXEC

from avmm.plugin import OperationRefused, Vcpu
from avmm_arm64.kvm_irqchip import PinsOnly
from avmm_arm64.kvm_vcpu import FirmwareFeatures, IntrExit, KvmVcpu, MmioExit, SystemEventExit
from avmm_arm64.layout import affinity
from avmm_arm64.requests import ArmRequest
from avmm_arm64.vcpu import MPIDR_RES1

_INSTRUCTION = 4


class ExitReason(IntEnum):
    """KVM_EXIT_*, as far as they occur."""

    UNKNOWN = 0
    MMIO = 6
    INTR = 10
    SYSTEM_EVENT = 24


class MpState(IntEnum):
    """KVM_MP_STATE_* of arm64."""

    RUNNABLE = 0
    STOPPED = 5
    SUSPENDED = 10


@dataclass(slots=True)
class RunArea:
    """What user and vCPU share (struct kvm_run)."""

    exit_reason: int = ExitReason.UNKNOWN
    immediate_exit: int = 0
    device_irq_level: int = 0
    mmio: MmioExit | None = None
    system_event: SystemEventExit | None = None


@dataclass(slots=True)
class Signals:
    """The one signal that a test sends, as the vCPU's thread has it."""

    blocked: bool = False
    """The thread blocks it outside KVM_RUN."""
    pending: bool = False
    mask_allows: bool | None = None
    """Whether KVM_SET_SIGNAL_MASK lets it through during KVM_RUN; None when there is no such mask."""

    def deliver(self) -> bool:
        """The signal is sent to the thread; True when it ends a run under way."""
        self.pending = self.blocked
        return self.interrupts()

    def interrupts(self) -> bool:
        """True when the signal, just sent or pending, ends a run."""
        return self.mask_allows if self.mask_allows is not None else not self.blocked

    def thread_blocks(self, blocked: bool) -> None:
        """The thread blocks the signal, or does not: then one that is pending is handled, and gone."""
        self.blocked = blocked
        self.pending = self.pending and blocked


@dataclass(slots=True)
class Handle:
    """One vCPU. `parts` is the real one, made when it first runs; what is set before is kept in `registers` until then."""

    vcpu: Vcpu
    id: int
    """As its user chose it; its place among the vCPUs, which its affinity does not go by, is `vcpu.index`."""
    firmware: FirmwareFeatures
    features: frozenset[str] | None = None
    """The features it was initialised with; None before KVM_ARM_VCPU_INIT."""
    parts: KvmVcpu | None = None
    registers: dict[str, int] = field(default_factory=dict)
    run: RunArea = field(default_factory=RunArea)
    signals: Signals = field(default_factory=Signals)
    irq: bool = False
    fiq: bool = False
    closed: bool = False
    pending_pc: int | None = None
    """Where the instruction is that the next run completes, for its accesses in `pending_mmio`; None when there is none."""
    pending_mmio: list[MmioExit] = field(default_factory=list)
    signal_exits: int = 0
    """Runs that a signal ended."""
    mmio_exits: int = 0
    """Runs that left for an access."""

    mpidr: int = field(init=False)
    """MPIDR_EL1."""

    def __post_init__(self) -> None:
        self.mpidr = MPIDR_RES1 | affinity(self.id)

    @property
    def waits_of_firmware(self) -> int:
        """Times it waited by a firmware call, not by WFI."""
        return 0 if self.parts is None else self.parts.waits_of_firmware

    # psci.PsciCpu

    @property
    def is_off(self) -> bool:
        """True while the vCPU is powered off."""
        return self.vcpu.powered_off

    def turn_on(self, entry: int, context: int) -> None:
        """PSCI CPU_ON of this vCPU."""
        if self.parts is not None:
            self.parts.turn_on(entry, context)
        else:
            self.registers = {"x0": context, "pc": entry}
            self.vcpu.power_on()

    def turn_off(self) -> None:
        """PSCI CPU_OFF by this vCPU."""
        assert self.parts is not None
        self.parts.turn_off()

    def suspend(self) -> None:
        """PSCI CPU_SUSPEND by this vCPU."""
        assert self.parts is not None
        self.parts.suspend()

    # Registers

    def set_pc(self, address: int) -> None:
        """Set the program counter (KVM_SET_ONE_REG); OperationRefused (ENOEXEC) before KVM_ARM_VCPU_INIT."""
        self.check_initialized()
        if self.parts is None:
            self.registers["pc"] = address
        else:
            self.settle_reset()
            self.parts.engine.write_register("pc", address)

    def pc(self) -> int:
        """The program counter (KVM_GET_ONE_REG)."""
        self.check_initialized()
        if self.parts is None:
            return self.registers.get("pc", 0)
        self.settle_reset()
        return self.parts.engine.read_register("pc")

    def settle_reset(self) -> None:
        """A reset asked for while the vCPU does not run is made before anybody looks at its registers."""
        if self.parts is not None and self.vcpu.check_request(ArmRequest.VCPU_RESET):
            self.parts.handle_reset()

    def check_initialized(self) -> None:
        """OperationRefused (ENOEXEC) before KVM_ARM_VCPU_INIT."""
        if self.features is None:
            raise OperationRefused(ENOEXEC, f"vcpu {self.vcpu.index} was not initialised")

    def drive_pin(self, number: int, level: bool) -> None:
        """Drive the IRQ (0) or FIQ (1) pin from outside; the level it has is nothing."""
        if number not in (0, 1):
            raise OperationRefused(EINVAL, f"a CPU has the pins 0 (IRQ) and 1 (FIQ), not {number}")
        if level == (self.fiq if number else self.irq):
            return
        if number:
            self.fiq = level
        else:
            self.irq = level
        self.show_pins()
        self.vcpu.make_request_and_kick(ArmRequest.IRQ_PENDING)

    def release_pins(self) -> None:
        """Both pins are low again: an initialisation sets them anew."""
        self.irq = self.fiq = False
        self.show_pins()

    def show_pins(self) -> None:
        """Bring the pins to the vCPU itself."""
        if self.parts is not None and isinstance(self.parts.irqchip, PinsOnly):
            self.parts.irqchip.pins.drive(self.irq, self.fiq)

    # Runs

    def complete_mmio(self) -> bool:
        """Complete the access for which a run left, as userspace says it did by leaving `exit_reason` alone, or setting it again.

        False when the instruction goes on to another access: it leaves for that. A user who has moved the program counter
        since finds it one instruction on: completing skips whatever is there.
        """
        if self.pending_pc is None or self.run.exit_reason != ExitReason.MMIO or self.parts is None:
            return True
        pc, self.pending_pc = self.pending_pc, None
        now = self.parts.engine.read_register("pc")
        if now != pc:
            self.parts.engine.write_register("pc", now + _INSTRUCTION)
        else:
            done = self.pending_mmio
            further = self.parts.complete(done)
            if further is not None:
                self.left(further)
                self.pending_mmio = [*done, further]
                return False
        return True

    def left(self, why: object) -> int | None:
        """Take down how a run ended, `why` as from `UserspaceVm.finish`; the errno of the run, or None."""
        assert self.parts is not None
        self.parts.publish()
        self.run.device_irq_level = self.parts.device_irq_level
        match why:
            case None | IntrExit():
                self.run.exit_reason = ExitReason.INTR
                self.signal_exits += why is None
                return EINTR
            case MmioExit():
                self.run.exit_reason, self.run.mmio = ExitReason.MMIO, why
                self.pending_pc = self.parts.engine.read_register("pc")
                self.pending_mmio = [why]
                self.mmio_exits += 1
            case SystemEventExit():
                self.run.exit_reason, self.run.system_event = ExitReason.SYSTEM_EVENT, why
                self.parts.mmio_data = why.flags  # one place in the union of all exits
            case _:
                raise AssertionError(f"a run cannot end with {why!r}")
        return None
