"""The real vCPUs of a `KvmMachine`: each is made when it first runs, and the engine with the first of them."""

from __future__ import annotations

from avmm.plugin import Engine, EngineFactory, EngineOptions, MemorySlot, UserspaceVm
from avmm_arm64.attributes import VcpuAttributes
from avmm_arm64.kvm_handle import Handle
from avmm_arm64.kvm_irqchip import KvmGic, PinsOnly
from avmm_arm64.kvm_vcpu import CPU_MODEL, KvmVcpu
from avmm_arm64.layout import COUNTER_HZ
from avmm_arm64.pmu_options import NO_PMU, PmuOptions
from avmm_arm64.psci import Psci
from avmm_arm64.timer import SystemCounter


class KvmVcpuMaker:
    """Makes a vCPU's `parts` of what its user has set, and puts into them what is kept in the `Handle`."""

    def __init__(self, vm: UserspaceVm, engine: EngineFactory, psci: Psci, attributes: VcpuAttributes) -> None:
        self._vm, self._engine_factory, self._psci, self._attributes = vm, engine, psci, attributes
        self._engine: Engine | None = None
        self._counters = SystemCounter(vm.clock, COUNTER_HZ), SystemCounter(vm.clock, COUNTER_HZ)

    def close(self) -> None:
        """Close the engine. Its vCPUs are closed already."""
        if self._engine is not None:
            self._engine.close()

    def add_memory(self, slot: MemorySlot) -> None:
        """Give the guest `slot`, be there an engine yet or not."""
        self._vm.memory.add(slot)
        if self._engine is not None:
            self._engine.map_memory(slot)

    def make(self, handle: Handle, irqchip: KvmGic | None) -> None:
        """Make the real vCPU, on `irqchip` or with pins."""
        vcpu, index = handle.vcpu, handle.vcpu.index
        ppis = self._attributes.timers.vcpus[index]
        gic = irqchip.gic if irqchip is not None else None
        if gic is not None:
            for intid in (ppis.virtual, ppis.physical):
                gic.set_ppi_level(index, intid, level=False)  # the wire has an owner now, whose level counts
        pmu = PmuOptions() if self._attributes.pmu.supported else NO_PMU
        controller = gic or PinsOnly(index)
        parts = KvmVcpu(vcpu, self._vm, controller, self._psci, self._counters, ppis, pmu, handle.firmware, handle.mpidr)
        parts.attributes = self._attributes
        vcpu.arch = parts
        vcpu.engine = self._made_engine().create_vcpu(index, parts.traps, parts.system_registers, parts.counters)
        vcpu.engine.count_instructions(on=True)
        parts.attach(vcpu.engine)
        parts.reset()
        vcpu.engine.write_register("pc", 0)
        for name, value in handle.registers.items():
            vcpu.engine.write_register(name, value)
        if parts.pmu is not None:
            parts.pmu.set_rules(self._attributes.pmu.rules())
        handle.parts = parts
        handle.show_pins()

    def _made_engine(self) -> Engine:
        if self._engine is None:
            self._engine = self._engine_factory(EngineOptions("arm64", CPU_MODEL, self._vm.clock))
            for slot in self._vm.memory:
                self._engine.map_memory(slot)
        return self._engine
