"""The arm64 machine: memory map, interrupt controller, timers, firmware calls and device tree around its vCPUs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from avmm.plugin import (
    Arch,
    ArchOptions,
    ArchVcpu,
    BootImage,
    ConfigError,
    DevicePlace,
    LineView,
    MemorySlot,
    OptionTable,
    Vcpu,
    VmServices,
)
from avmm_arm64 import views
from avmm_arm64.attributes import TimerAttributes, VcpuAttributes
from avmm_arm64.boot import place_at_top, place_for_firmware
from avmm_arm64.fdt import Board, build_fdt
from avmm_arm64.gic import Gic, GicV2
from avmm_arm64.gic.gicv2 import MAX_VCPUS as MAX_VCPUS_GICV2
from avmm_arm64.interrupt_claims import Claims
from avmm_arm64.intid import FIRST_PPI, FIRST_SPI, LAST_PPI, SPI_COUNT
from avmm_arm64.layout import (
    COUNTER_HZ,
    FLASH_BASE,
    GICC_BASE,
    GICD_BASE,
    GICR_BASE,
    MAX_RAM,
    MAX_VCPUS,
    RAM_BASE,
    Places,
    affinity,
)
from avmm_arm64.pmu import Pmu
from avmm_arm64.pmu_attributes import PmuAttribute, PmuAttributes, PmuState
from avmm_arm64.pmu_options import KEYS as PMU_KEYS
from avmm_arm64.pmu_options import pmu_options
from avmm_arm64.psci import Psci
from avmm_arm64.requests import ArmRequest
from avmm_arm64.sysregs import CPU_MODELS
from avmm_arm64.timer import SystemCounter, TimerPpis
from avmm_arm64.vcpu import Arm64Vcpu

_EM_AARCH64 = 183
SEED_BYTES = 64
"""What a guest is given to start its random numbers with."""
_TIMER_KEYS = ("virtual_timer_ppi", "physical_timer_ppi")

_IRQCHIPS: Mapping[str, type[Gic] | type[GicV2]] = {"": Gic, "gicv3": Gic, "3": Gic, "gicv2": GicV2, "2": GicV2}


class Arm64(Arch):
    """A machine in the shape of QEMU's `virt`, with a GICv3 or a GICv2 and EL1 as the highest exception level."""

    name = "arm64"
    requests = ArmRequest
    elf_machine = _EM_AARCH64
    image_base = RAM_BASE
    irq_inputs = SPI_COUNT

    def __init__(self, vm: VmServices, options: ArchOptions) -> None:
        _check(options)
        self._vm, self._options = vm, options
        table = OptionTable(options.options, "arch", "an arm64 machine", (*_TIMER_KEYS, *PMU_KEYS))
        self.timer_ppis = _timer_ppis(table)
        self.pmu = pmu_options(table, options.vcpus)
        claims = Claims(FIRST_SPI + SPI_COUNT)
        timers = TimerAttributes(claims, self.timer_ppis)
        self.attributes = VcpuAttributes(timers, PmuAttributes(claims, lambda: timers.immutable, self.pmu.counters))
        self.attributes.pmu.supported = self.pmu.present
        self._pmus_set_up = False
        self._places = Places(options.memory_bytes, options.vcpus, options.firmware)
        self._vcpus: list[Arm64Vcpu] = []
        self.gic: Gic | GicV2
        if _IRQCHIPS[options.irqchip] is GicV2:
            self.gic = GicV2(options.vcpus, self._drive_pins)
            vm.bus.add(GICC_BASE, self.gic.region, "gicc")
        else:
            self.gic = Gic([affinity(index) for index in range(options.vcpus)], self._drive_pins)
            vm.bus.add(GICR_BASE, self.gic.region, "gicr")
        vm.bus.add(GICD_BASE, self.gic.distributor, "gicd")
        self.irq_chip = self.gic
        self._psci = Psci(self._vcpus, vm.system_event)
        # Both counters start near zero with the VM.
        offset = SystemCounter(vm.clock, COUNTER_HZ).raw()
        self._counters = SystemCounter(vm.clock, COUNTER_HZ, offset), SystemCounter(vm.clock, COUNTER_HZ, offset)

    def memory_slots(self) -> Sequence[MemorySlot]:
        return [MemorySlot(RAM_BASE, self._options.memory_bytes)]

    def default_devices(self) -> Sequence[DevicePlace]:
        return self._places.defaults()

    def place(self, name: str, kind: str, address: int | None, irq: int | None) -> DevicePlace:
        return self._places.choose(name, kind, address, irq)

    def create_vcpu(self, vcpu: Vcpu) -> ArchVcpu:
        assert vcpu.index == len(self._vcpus)
        cpu, gic, psci, ppis = self._options.cpu, self.gic, self._psci, self.timer_ppis
        parts = Arm64Vcpu(vcpu, self._vm, cpu, gic, psci, self._counters, ppis, self.pmu)
        parts.attributes = self.attributes
        self.attributes.timers.vcpus.append(self.timer_ppis)
        self.attributes.pmu.vcpus.append(PmuState())
        self._vcpus.append(parts)
        return parts

    def handlers(self) -> Mapping[int, Callable[[Vcpu], None]]:
        # The order of Linux's check_vcpu_requests().
        return {
            ArmRequest.VCPU_RESET: self._handle_reset,
            ArmRequest.IRQ_PENDING: _irq_pending,
            ArmRequest.RELOAD_PMU: self._handle_reload_pmu,
        }

    def check(self) -> None:
        if self.timer_ppis.virtual == self.timer_ppis.physical:
            raise ConfigError(f"both timers have private interrupt {self.timer_ppis.virtual}", key="arch.virtual_timer_ppi")
        if self.pmu.present and self.pmu.irq in (self.timer_ppis.virtual, self.timer_ppis.physical):
            raise ConfigError(f"a timer has private interrupt {self.pmu.irq} already", key="arch.pmu_irq")
        if not self._pmus_set_up:
            self._pmus_set_up = True
            for vcpu in self._vcpus:
                if vcpu.pmu is not None:
                    self._set_up_pmu(vcpu, vcpu.pmu)
        for vcpu in self._vcpus:
            self.attributes.timers.check(vcpu.index)
            self.attributes.pmu.check(vcpu.index)

    def _set_up_pmu(self, vcpu: Arm64Vcpu, pmu: Pmu) -> None:
        """Before the first run: what device attributes have not done, and the event filters they asked for."""
        attributes = self.attributes.pmu
        state = attributes.vcpus[vcpu.index]
        if not state.created:
            if state.irq is None:
                attributes.set(vcpu.index, PmuAttribute.IRQ, vcpu.pmu_intid)
            attributes.set(vcpu.index, PmuAttribute.INIT, None)
        pmu.counters = attributes.counters
        if attributes.filters:
            pmu.set_rules(attributes.rules())

    def lines(self) -> tuple[LineView, ...]:
        return views.lines(self.gic.distributor.spis)

    def reset(self) -> None:
        self.gic.reset()

    def boot(self, image: BootImage, devices: Sequence[DevicePlace]) -> None:
        ram = RAM_BASE, RAM_BASE + self._options.memory_bytes
        board = Board(
            self._options.cpu,
            len(self._vcpus),
            self._options.memory_bytes,
            self.timer_ppis,
            tuple(devices),
            isinstance(self.gic, GicV2),
            pmu_irqs=tuple(parts.pmu_intid for parts in self._vcpus if parts.pmu is not None),
            seed=os.urandom(SEED_BYTES) if self._vm.clock.is_host else b"",  # a run in virtual time repeats itself
        )
        if self._options.firmware is None:
            tree = place_at_top(self._vm.memory, ram, image, lambda initrd: build_fdt(board, image.command_line, initrd))
            self._vcpus[0].start_at(image.entry, tree)
        else:
            place_for_firmware(self._vm.memory, RAM_BASE, build_fdt(board, image.command_line, None))
            self._vcpus[0].start_at(FLASH_BASE, 0)
        self._vm.vcpus[0].power_on()

    def _drive_pins(self, index: int, irq: bool, fiq: bool) -> None:
        self._vcpus[index].drive_pins(irq, fiq)

    def _handle_reset(self, vcpu: Vcpu) -> None:
        self._vcpus[vcpu.index].handle_reset()

    def _handle_reload_pmu(self, vcpu: Vcpu) -> None:
        self._vcpus[vcpu.index].reload_pmu()


def _irq_pending(vcpu: Vcpu) -> None:
    """IRQ_PENDING did its work by being made: the flush that follows drives the pin."""


def _check(options: ArchOptions) -> None:
    """ConfigError for a machine that does not exist."""
    if options.cpu not in CPU_MODELS:
        raise ConfigError(f"{options.cpu!r} is not one of {', '.join(CPU_MODELS)}", key="cpu")
    if options.irqchip not in _IRQCHIPS:
        raise ConfigError(f"{options.irqchip!r} is not one of gicv3 (or 3), gicv2 (or 2)", key="irqchip")
    most = MAX_VCPUS_GICV2 if _IRQCHIPS[options.irqchip] is GicV2 else MAX_VCPUS
    if not 1 <= options.vcpus <= most:
        raise ConfigError(f"{options.vcpus} is not from 1 to {most}", key="vcpus")
    if options.memory_bytes > MAX_RAM:
        raise ConfigError(f"{options.memory_bytes} bytes are more than {MAX_RAM >> 30}G", key="memory")


def _timer_ppis(table: OptionTable) -> TimerPpis:
    """The timers' private interrupts (INTIDs 16 to 31)."""
    default = TimerPpis()
    virtual, physical = (table.integer(key, FIRST_PPI, LAST_PPI) for key in _TIMER_KEYS)
    return TimerPpis(virtual or default.virtual, physical or default.physical)
