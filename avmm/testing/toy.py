"""A minimal architecture, without an instruction set: memory, interrupts and a few hypercalls, for tests of everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum

from avmm.arch import Arch, ArchOptions, ArchVcpu, BootImage, DevicePlace, SystemEvent, VmServices
from avmm.engine import Hypercall, SystemRegister, Undefined, VcpuEngine
from avmm.errors import ConfigError
from avmm.exits import ExitReason
from avmm.memory import MemorySlot
from avmm.testing.scripted_vcpu import REGISTERS
from avmm.vcpu.requests import Request, arch_request
from avmm.vcpu.vcpu import Vcpu

RAM_BASE = 0x4000_0000
DEVICES_BASE = 0x1000_0000
DEVICES_STRIDE = 0x1_0000
SHARED_IRQ = 16
"""Interrupt number of shared input 0; numbers below belong to each vCPU."""


class ToyRequest(IntEnum):
    """The toy architecture's own requests."""

    IRQ_PENDING = arch_request(1)
    """An interrupt has become pending: no handler's work, only another pass through `flush_hwstate`."""
    WORK = arch_request(2)
    """Call the vCPU's `on_work` on its own thread."""


class ToyCall(IntEnum):
    """Hypercalls, by immediate; the argument is x0."""

    SHUTDOWN = 0
    RESET = 1
    CPU_ON = 2
    """Power on vCPU x0."""
    CPU_OFF = 3
    """Power off the caller."""
    SEND_IRQ = 4
    """Raise interrupt 0 of vCPU x0."""
    FLUSH_TLBS = 5
    HALT = 6
    """Sleep until an interrupt, as Halted does."""


class ToyVcpu(ArchVcpu):
    """The toy part of one vCPU, and its traps.

    System registers: `irq_ack` reads the lowest pending interrupt and makes it pending no more (1023 when there is none).
    """

    def __init__(self, arch: ToyArch, vcpu: Vcpu) -> None:
        self._arch, self._vcpu = arch, vcpu
        self.register_names = REGISTERS
        self.pending_irqs = 0
        """Pending interrupts, one bit each. Written with the device lock held."""
        self.timer_pending = False
        """What `pending_timer()` says."""
        self.on_work: Callable[[Vcpu], None] | None = None
        self.work_done = 0
        self.irq_flushes = 0
        """Times the request IRQ_PENDING was handled."""
        self.flushes = self.syncs = self.blocks = self.unblocks = self.resets = 0
        self.traps = self
        self.system_registers: Sequence[SystemRegister] = (
            SystemRegister("irq_ack", (3, 0, 12, 12, 0), read=self.acknowledge_irq),
            SystemRegister("cpu_id", (3, 0, 0, 0, 5), constant=vcpu.index),
        )
        self.counters = ()

    # ArchVcpu.

    def attach(self, engine: VcpuEngine) -> None:
        self._engine = engine

    def flush_hwstate(self) -> None:
        self.flushes += 1
        self._engine.set_irq_line(self.pending_irqs != 0)

    def sync_hwstate(self) -> None:
        self.syncs += 1

    def runnable(self) -> bool:
        return self.pending_irqs != 0

    def pending_timer(self) -> bool:
        return self.timer_pending

    def blocking(self) -> None:
        self.blocks += 1

    def unblocking(self) -> None:
        self.unblocks += 1

    def reset(self) -> None:
        self.resets += 1
        self.pending_irqs = 0
        self.timer_pending = False
        self._engine.reset()

    # Interrupts.

    def acknowledge_irq(self) -> int:
        """Take the lowest pending interrupt; 1023 when there is none. A shared input's stays pending while its line is high."""
        with self._arch.vm.device_lock:
            lowest = self.pending_irqs & -self.pending_irqs
            if not lowest:
                return 1023
            number = lowest.bit_length() - 1
            if number < SHARED_IRQ or not self._arch.levels >> number - SHARED_IRQ & 1:
                self.pending_irqs &= ~lowest
            self._engine.set_irq_line(self.pending_irqs != 0)
            return number

    # Traps.

    def _count(self, reason: ExitReason) -> None:
        self._vcpu.stats.exits_by_reason[reason] += 1

    def mmio_read(self, address: int, width: int) -> int:
        self._count(ExitReason.MMIO_READ)
        return self._arch.vm.bus.read(address, width)

    def mmio_write(self, address: int, width: int, value: int) -> None:
        self._count(ExitReason.MMIO_WRITE)
        self._arch.vm.bus.write(address, width, value)

    def hypercall(self, call: Hypercall) -> None:
        self._count(ExitReason.HYPERCALL)
        vm, argument = self._arch.vm, call.argument(0)
        try:
            number = ToyCall(call.immediate)
        except ValueError:
            vm.guest_fault("hypercall", f"unknown hypercall {call.immediate}")
            raise Undefined(f"hypercall {call.immediate}") from None
        match number:
            case ToyCall.SHUTDOWN:
                vm.system_event(SystemEvent.SHUTDOWN)
            case ToyCall.RESET:
                vm.system_event(SystemEvent.RESET)
            case ToyCall.CPU_OFF:
                self._vcpu.power_off()
            case ToyCall.CPU_ON | ToyCall.SEND_IRQ:
                if argument >= len(vm.vcpus):
                    call.result(0, (1 << 64) - 1)
                elif number is ToyCall.CPU_ON:
                    vm.vcpus[argument].power_on()
                else:
                    self._arch.raise_irq(argument)
            case ToyCall.HALT:
                self._vcpu.halt()
            case ToyCall.FLUSH_TLBS:
                self.tlb_flush_all()

    def tlb_flush_all(self) -> None:
        self._arch.flush_tlbs()

    def count_tlb_flushes(self, made: int, handled: int, ipis: int) -> None:
        self._vcpu.count_waits(Request.TLB_FLUSH, made, handled, ipis)


class ToyArch(Arch):
    """A machine of toy vCPUs. Option `boot`: `all` (the default) powers on every vCPU, `first` vCPU 0 alone."""

    name = "toy"
    requests: type[IntEnum] = ToyRequest
    elf_machine = 0
    image_base = RAM_BASE
    irq_inputs = 16

    def __init__(self, vm: VmServices, options: ArchOptions) -> None:
        self.vm, self._memory_bytes = vm, options.memory_bytes
        if options.firmware is not None:
            raise ConfigError("toy machines have none", key="firmware")
        self._boot = options.options.get("boot", "all")
        if self._boot not in ("all", "first"):
            raise ConfigError("must be 'all' or 'first'", key="arch.boot")
        self.parts: list[ToyVcpu] = []
        self.irq_chip = self
        self.levels = 0
        """Levels of the shared inputs, one bit each."""
        self._placed = 0
        self.boots = 0
        self.resets = 0

    def memory_slots(self) -> Sequence[MemorySlot]:
        return [MemorySlot(RAM_BASE, self._memory_bytes)]

    def default_devices(self) -> Sequence[DevicePlace]:
        return []

    def place(self, name: str, kind: str, address: int | None, irq: int | None) -> DevicePlace:
        number, self._placed = self._placed, self._placed + 1
        if address is None:
            address = DEVICES_BASE + number * DEVICES_STRIDE
        return DevicePlace(name, kind, address, number if irq is None else irq)

    def create_vcpu(self, vcpu: Vcpu) -> ToyVcpu:
        part = ToyVcpu(self, vcpu)
        self.parts.append(part)
        return part

    def boot(self, image: BootImage, devices: Sequence[DevicePlace]) -> None:
        self.boots += 1
        for vcpu in self.vm.vcpus if self._boot == "all" else self.vm.vcpus[:1]:
            vcpu.power_on()

    def handlers(self) -> Mapping[int, Callable[[Vcpu], None]]:
        return {ToyRequest.IRQ_PENDING: self._irq_pending, ToyRequest.WORK: self._work}

    def reset(self) -> None:
        self.resets += 1
        self.levels = 0

    def _irq_pending(self, vcpu: Vcpu) -> None:
        self.parts[vcpu.index].irq_flushes += 1

    def _work(self, vcpu: Vcpu) -> None:
        part = self.parts[vcpu.index]
        part.work_done += 1
        if part.on_work is not None:
            part.on_work(vcpu)

    def flush_tlbs(self) -> None:
        """Have every vCPU forget its translations. Any thread, the guest's own included."""
        for vcpu in self.vm.vcpus:
            if not vcpu.in_own_thread():
                vcpu.make_request_and_kick(Request.TLB_FLUSH)

    # Interrupts.

    def raise_irq(self, vcpu: int, number: int = 0) -> None:
        """Make interrupt `number` (0 to 15) of vCPU `vcpu` pending, and see to it that the vCPU notices. Any thread."""
        with self.vm.device_lock:
            self.parts[vcpu].pending_irqs |= 1 << number
        self.vm.vcpus[vcpu].make_request_and_kick(ToyRequest.IRQ_PENDING)

    def set_spi_level(self, number: int, level: bool) -> None:
        """IrqChip: shared inputs go to vCPU 0, level-sensitive."""
        bit = 1 << number
        self.levels = self.levels | bit if level else self.levels & ~bit
        part = self.parts[0]
        if level:
            part.pending_irqs |= bit << SHARED_IRQ
            self.vm.vcpus[0].make_request_and_kick(ToyRequest.IRQ_PENDING)
        else:
            part.pending_irqs &= ~(bit << SHARED_IRQ)


def create_arch(vm: VmServices, options: ArchOptions) -> ToyArch:
    """The arch factory."""
    return ToyArch(vm, options)
