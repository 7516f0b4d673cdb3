"""An arm64 VM made and run by the operations of KVM's interface, answering as KVM does.

The vCPUs, their run loop and requests, GIC, timers and PSCI are the machine's own. What is here is what KVM's ioctls do around
them: in which order things may be made, what is refused and with which errno.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from errno import EBADF, EBUSY, EEXIST, EINTR, EINVAL, EIO, ENODEV, ENXIO

from avmm.plugin import EngineFactory, MemorySlot, OperationRefused, SystemEvent, UserspaceVm, Vcpu
from avmm_arm64.attributes import StolenTimes, TimerAttributes, VcpuAttributes
from avmm_arm64.kvm_handle import ExitReason, Handle, MpState
from avmm_arm64.kvm_irqchip import KvmGic, irq_type
from avmm_arm64.kvm_vcpu import FirmwareFeatures, system_event_exit
from avmm_arm64.kvm_vcpu_maker import KvmVcpuMaker
from avmm_arm64.layout import RAM_BASE
from avmm_arm64.pmu_attributes import PmuAttribute, PmuAttributes, PmuState
from avmm_arm64.psci import Psci, PsciCpu
from avmm_arm64.requests import ArmRequest
from avmm_arm64.timer import TimerPpis

MAX_VCPUS = 512
RAM_SIZE = 2 << 20
FEATURES = frozenset({"psci_0_2", "pmu_v3", "power_off"})
GENERIC_TARGET = 5
"""KVM_ARM_TARGET_GENERIC_V8."""
_PMU_ATTRIBUTES = frozenset(PmuAttribute) - {PmuAttribute.SET_NR_COUNTERS}
"""Those of Linux 6.12."""
_NAMES = {int(request) & 0xFF: request.name for request in ArmRequest}


class KvmMachine:
    """One VM. Methods raise `OperationRefused` with the errno of KVM's ioctl of that name."""

    def __init__(self, vm: UserspaceVm, engine: EngineFactory) -> None:
        self.vm = vm
        self.handles: list[Handle] = []
        self._by_id: dict[int, Handle] = {}
        self._irqchip: KvmGic | None = None
        self._stolen_times = StolenTimes(vm.memory)
        pmus = PmuAttributes(self, lambda: self.has_run, known=_PMU_ATTRIBUTES)
        self.attributes = VcpuAttributes(TimerAttributes(self, TimerPpis()), pmus, self._stolen_times)
        self._cpus: list[PsciCpu] = []
        self._maker = KvmVcpuMaker(vm, engine, Psci(self._cpus, vm.system_event), self.attributes)
        vm.on_system_event = self._system_event
        self.has_run = False
        self.system_suspend = False
        """KVM_CAP_ARM_SYSTEM_SUSPEND was enabled."""
        self._dead = False

    async def close(self) -> None:
        """End every run and give everything back."""
        for handle in self.handles:
            if self.vm.in_run(handle.vcpu):
                await self.vm.interrupt(handle.vcpu)
            if handle.parts is not None:
                handle.parts.engine.close()
        self._maker.close()
        await self.vm.close()

    def check_alive(self) -> None:
        """OperationRefused (EIO) once the VM is dead: a first run found a GIC that could not be used (kvm_vm_dead)."""
        if self._dead:
            raise OperationRefused(EIO, "the VM is dead")

    # interrupt_claims.Irqchip

    @property
    def in_kernel(self) -> bool:
        """True once a GIC was created."""
        return self._irqchip is not None

    @property
    def initialized(self) -> bool:
        """True once the GIC was initialised."""
        return self._irqchip is not None and self._irqchip.initialized

    def valid_spi(self, intid: int) -> bool:
        """True for the shared interrupts of the GIC."""
        return self._irqchip is not None and self._irqchip.valid_spi(intid)

    def claim(self, vcpu: int, intid: int, owner: str) -> None:
        """Make `owner` the one to drive an input of the GIC."""
        self.gic.claim(vcpu, intid, owner)

    # The VM

    def create_vcpu(self, number: int) -> Handle:
        """KVM_CREATE_VCPU with this id."""
        if not 0 <= number < MAX_VCPUS or len(self.handles) >= MAX_VCPUS:
            raise OperationRefused(EINVAL, f"vCPU ids go from 0 to {MAX_VCPUS - 1}")
        if self.initialized:
            raise OperationRefused(EBUSY, "the GIC is initialised, for the vCPUs there are")
        if self._irqchip is not None:
            self._irqchip.check_vcpus(len(self.handles))
        if number in self._by_id:
            raise OperationRefused(EEXIST, f"there is a vCPU {number} already")
        index = len(self.handles)
        handlers: dict[int, Callable[[Vcpu], None]] = {
            ArmRequest.VCPU_RESET: self._handle_reset,
            ArmRequest.IRQ_PENDING: _nothing,
            ArmRequest.RELOAD_PMU: self._handle_reload_pmu,
        }
        vcpu = self.vm.add_vcpu(handlers, _NAMES)
        firmware = FirmwareFeatures(
            system_suspend=lambda: self.system_suspend, stolen_time=lambda: self._stolen_times.vcpus[index]
        )
        handle = Handle(vcpu, number, firmware)
        self._by_id[number] = handle
        self.handles.append(handle)
        self.attributes.timers.vcpus.append(TimerPpis())
        self.attributes.pmu.vcpus.append(PmuState())
        self._stolen_times.vcpus.append(None)
        return handle

    def load(self, image: bytes) -> None:
        """Give the guest its memory, with `image` at its start."""
        if self.vm.memory.find(RAM_BASE, 1) is None:
            self._maker.add_memory(MemorySlot(RAM_BASE, RAM_SIZE))
        self.vm.memory.write(RAM_BASE, image)

    def irq_line(self, kind: int | str, vcpu: int, number: int, level: bool) -> None:
        """KVM_IRQ_LINE: drive a CPU's pin (`cpu`), a private (`ppi`) or a shared (`spi`) interrupt."""
        of = irq_type(kind)
        if (of == "cpu") == self.in_kernel:
            raise OperationRefused(ENXIO, "there is a GIC" if self.in_kernel else "there is no GIC")
        if of != "spi" and vcpu not in self._by_id:
            raise OperationRefused(EINVAL, f"there is no vCPU {vcpu}")
        if of == "cpu":
            self._by_id[vcpu].drive_pin(number, level)
            return
        if (of == "spi") != (number >= 32) or number < 16:
            raise OperationRefused(EINVAL, f"{number} is no {of}")
        with self.vm.device_lock:
            self.gic.inject(self._by_id[vcpu].vcpu.index if of == "ppi" else 0, number, level)

    def _system_event(self, event: SystemEvent, detail: str) -> None:
        """The guest wants it off or reset: every vCPU stops, and the caller's run ends (kvm_prepare_system_event)."""
        for handle in self.handles:
            self.vm.slot(handle.vcpu).suspended = False
            handle.vcpu.power_off()
            if handle.vcpu.in_guest_thread() and handle.parts is not None:
                handle.parts.leave(system_event_exit(event, detail))

    # The GIC

    @property
    def gic(self) -> KvmGic:
        """The GIC; OperationRefused (EBADF) when there is none, and so no file descriptor of it."""
        if self._irqchip is None:
            raise OperationRefused(EBADF, "there is no GIC")
        return self._irqchip

    def create_vgic(self, version: int, *, test: bool = False) -> None:
        """KVM_CREATE_DEVICE of a GIC; `test` only asks whether there are such."""
        if version != 3:
            raise OperationRefused(ENODEV, f"there is no GICv{version}, only GICv3")
        if test:
            return
        if any(self.vm.in_run(handle.vcpu) for handle in self.handles):
            raise OperationRefused(EBUSY, "a vCPU runs")
        if self._irqchip is not None:
            raise OperationRefused(EEXIST, "there is a GIC already")
        if any(handle.parts is not None for handle in self.handles):
            raise OperationRefused(EBUSY, "a vCPU has run")
        self._irqchip = KvmGic()

    def init_vgic(self) -> None:
        """KVM_DEV_ARM_VGIC_CTRL_INIT."""
        self.gic.initialize([handle.id for handle in self.handles], self._drive_pins)

    def _drive_pins(self, index: int, irq: bool, fiq: bool) -> None:
        parts = self.handles[index].parts if index < len(self.handles) else None
        if parts is not None:
            parts.drive_pins(irq, fiq)

    # vCPUs

    def init_vcpu(self, handle: Handle, features: Collection[str], target: int) -> None:
        """KVM_ARM_VCPU_INIT; again, it is a reset. All vCPUs of a VM have the same features, but for `power_off`."""
        if target != GENERIC_TARGET:
            raise OperationRefused(EINVAL, f"there is no target {target}")
        lasting = frozenset(features) - {"power_off"}
        if any(other.features is not None and other.features != lasting for other in self.handles):
            raise OperationRefused(EINVAL, "other features than before, or than another vCPU's")
        if handle.features is None:
            self._cpus.append(handle)
        handle.features = lasting
        self.attributes.pmu.supported = "pmu_v3" in lasting
        handle.firmware.psci = "psci_0_2" in lasting
        handle.registers.clear()
        handle.release_pins()
        if handle.parts is not None:
            handle.parts.reset()
            handle.parts.engine.write_register("pc", 0)
        self.set_mp_state(handle, MpState.STOPPED if "power_off" in features else MpState.RUNNABLE)

    def set_mp_state(self, handle: Handle, state: int) -> None:
        """KVM_SET_MP_STATE."""
        if state not in frozenset(MpState):
            raise OperationRefused(EINVAL, f"{state} is no state of an arm64 vCPU")
        self.vm.slot(handle.vcpu).suspended = state == MpState.SUSPENDED
        if state == MpState.STOPPED:
            handle.vcpu.power_off()
        else:
            handle.vcpu.power_on()

    def mp_state(self, handle: Handle) -> MpState:
        """KVM_GET_MP_STATE. A vCPU that waits for an interrupt is RUNNABLE."""
        if handle.vcpu.powered_off:
            return MpState.STOPPED
        return MpState.SUSPENDED if self.vm.slot(handle.vcpu).suspended else MpState.RUNNABLE

    def begin_run(self, handle: Handle) -> bool:
        """KVM_RUN up to the guest; False when it has left already. OperationRefused for what fails it, EINTR included."""
        self.check_alive()
        handle.check_initialized()
        if handle.parts is None:
            self._first_run(handle)
        if not handle.complete_mmio():
            return False
        if handle.run.immediate_exit:
            raise OperationRefused(EINTR, "immediate_exit is set")
        handle.run.exit_reason = ExitReason.UNKNOWN
        if handle.signals.pending and handle.signals.interrupts():
            handle.left(None)
            raise OperationRefused(EINTR, "a signal is pending")
        self.vm.run(handle.vcpu)
        return True

    def end_run(self, handle: Handle) -> int | None:
        """A run is over: take down how it ended; its errno, or None."""
        return handle.left(self.vm.finish(handle.vcpu))

    async def signal(self, handle: Handle) -> None:
        """Send the vCPU's thread a signal."""
        if handle.signals.deliver() and self.vm.in_run(handle.vcpu):
            await self.vm.interrupt(handle.vcpu)

    def _first_run(self, handle: Handle) -> None:
        """What is checked and made before a vCPU first runs, every time until it does (kvm_arch_vcpu_run_pid_change)."""
        index = handle.vcpu.index
        if self._irqchip is not None:
            try:
                self._irqchip.map(self.vm.bus, len(self.handles))
            except OperationRefused:
                self._dead = True
                raise
        self.attributes.timers.check(index)
        self.attributes.pmu.check(index)
        self.has_run = True
        self._maker.make(handle, self._irqchip)

    def _handle_reset(self, vcpu: Vcpu) -> None:
        if (parts := self.handles[vcpu.index].parts) is not None:
            parts.handle_reset()

    def _handle_reload_pmu(self, vcpu: Vcpu) -> None:
        if (parts := self.handles[vcpu.index].parts) is not None:
            parts.reload_pmu()


def _nothing(vcpu: Vcpu) -> None:
    """The request did its work by being made."""
