"""The operations of transcripts on a VM and its GIC."""

from __future__ import annotations

from errno import EBUSY, EINVAL

from avmm.plugin import NotApplicable, OperationRefused
from avmm_arm64 import kvm_gic_registers
from avmm_arm64.kvm_machine import MAX_VCPUS
from avmm_arm64.kvm_operations import Answer, Arguments, Operations, guest, operation

_CAPABILITIES = {
    "IRQCHIP": 1,
    "USER_MEMORY": 1,
    "USER_MEMORY2": 1,
    "JOIN_MEMORY_REGIONS_WORKS": 1,
    "INTERNAL_ERROR_DATA": 1,
    "CHECK_EXTENSION_VM": 1,
    "ENABLE_CAP_VM": 1,
    "HALT_POLL": 1,
    "BINARY_STATS_FD": 1,
    "SYSTEM_EVENT_DATA": 1,
    "SIGNAL_MSI": 1,
    "IRQ_ROUTING": 4096,
    "IRQFD_RESAMPLE": 1,
    "IOEVENTFD_ANY_LENGTH": 1,
    "COALESCED_MMIO": 1,
    "COALESCED_PIO": 1,
    "MANUAL_DIRTY_LOG_PROTECT2": 3,
    "DIRTY_LOG_RING_ACQ_REL": 1 << 20,
    "DIRTY_LOG_RING_WITH_BITMAP": 1,
    "SET_GUEST_DEBUG2": 0x3_0003,
    "ARM_SUPPORTED_REG_MASK_RANGES": 1,
    "ONE_REG": 1,
    "ARM_PSCI": 1,
    "DEVICE_CTRL": 1,
    "VCPU_ATTRIBUTES": 1,
    "STEAL_TIME": 1,
    "MP_STATE": 1,
    "IRQ_INJECT_STATUS": 0,
    "MAX_VCPUS": MAX_VCPUS,
    "MAX_VCPU_ID": MAX_VCPUS,
    "ARM_PSCI_0_2": 1,
    "ARM_PMU_V3": 1,
    "IMMEDIATE_EXIT": 1,
    "ARM_USER_IRQ": 1,
    "ARM_SYSTEM_SUSPEND": 1,
    # Accesses whose syndrome says too little would go to userspace: the engine decodes every access.
    "ARM_NISV_TO_USER": 1,
    "SYNC_MMU": 1,
    "DESTROY_MEMORY_REGION_WORKS": 1,
    "NR_MEMSLOTS": 32767,
    "IRQFD": 1,
    "IOEVENTFD": 1,
    "READONLY_MEM": 1,
    "SET_GUEST_DEBUG": 1,
    "ARM_SET_DEVICE_ADDR": 1,
    "ARM_VM_IPA_SIZE": 40,
    "VCPU_EVENTS": 1,
    "ARM_IRQ_LINE_LAYOUT_2": 1,
    "ARM_INJECT_EXT_DABT": 1,
    "PTP_KVM": 1,
    "COUNTER_OFFSET": 1,
    "MSI_DEVID": 0,
    # What this machine does not do.
    "ARM_EL1_32BIT": 0,
    "ARM_SVE": 0,
    "ARM_PTRAUTH_ADDRESS": 0,
    "ARM_PTRAUTH_GENERIC": 0,
    "ARM_INJECT_SERROR_ESR": 0,
    "ARM_MTE": 0,
    "ARM_EAGER_SPLIT_CHUNK_SIZE": 0,
    "DIRTY_LOG_RING": 0,
}
"""Names without KVM_CAP_, and what Linux 6.12 answers."""
_OF_THE_HOST = ("NR_VCPUS", "GUEST_DEBUG_HW_BPS", "GUEST_DEBUG_HW_WPS", "ARM_SUPPORTED_BLOCK_SIZES")
"""What they answer is the host's number of CPUs, its breakpoints, watchpoints and page size."""
_CAN_BE_ENABLED = ("ARM_SYSTEM_SUSPEND", "ARM_NISV_TO_USER", "HALT_POLL")


def _capability(operation: str, arguments: Arguments) -> str:
    """A capability's name; NotApplicable where it is all that is known, or where the answer is the host's.

    With its number it may be any: KVM answers 0 to those it does not have.
    """
    name = arguments.text("cap")
    if name in _OF_THE_HOST:
        raise NotApplicable(f"{operation}: {name} is the host's")
    if name not in _CAPABILITIES and "num" not in arguments:
        raise NotApplicable(f"{operation}: nothing is known of {name}")
    return name


class VmOperations(Operations):
    """Operations on the VM."""

    # The VM

    @operation()
    async def op_create_vm(self, arguments: Arguments) -> Answer:
        return {"ret": 0}

    @operation("vcpu", "id")
    async def op_create_vcpu(self, arguments: Arguments) -> Answer:
        name = arguments.integer("vcpu")
        self.handles[name] = self.machine.create_vcpu(arguments.integer("id", name))
        return {"ret": 0}

    @operation("vcpu", ioctl=False)
    async def op_close_vcpu(self, arguments: Arguments) -> Answer:
        self.handle(arguments).closed = True
        return {"ret": 0}

    @operation("cap", "num", "on")
    async def op_check_extension(self, arguments: Arguments) -> Answer:
        return {"ret": _CAPABILITIES.get(_capability("check_extension", arguments), 0)}

    @operation("cap", "num")
    async def op_enable_cap(self, arguments: Arguments) -> Answer:
        capability = _capability("enable_cap", arguments)
        if capability not in _CAN_BE_ENABLED:
            raise OperationRefused(EINVAL, f"{capability} is not to be enabled")
        if capability == "ARM_SYSTEM_SUSPEND":
            self.machine.system_suspend = True
        return {"ret": 0}

    @operation()
    async def op_load_guest(self, arguments: Arguments) -> Answer:
        self.machine.load(guest()[1])
        return {"ret": 0}

    @operation("type", "num", "vcpu", "level")
    async def op_irq_line(self, arguments: Arguments) -> Answer:
        kind = arguments.number_or_name("type")
        vcpu, number, level = (arguments.integer(name) for name in ("vcpu", "num", "level"))
        self.machine.irq_line(kind, vcpu, number, bool(level))
        return {"ret": 0}

    @operation("ms", ioctl=False)
    async def op_sleep(self, arguments: Arguments) -> Answer:
        await self.vm.wait(lambda: False, arguments.milliseconds("ms"))
        return {"ret": 0}

    # The GIC

    @operation("test")
    async def op_create_vgic_v3(self, arguments: Arguments) -> Answer:
        self.machine.create_vgic(3, test=arguments.flag("test"))
        return {"ret": 0}

    @operation("test")
    async def op_create_vgic_v2(self, arguments: Arguments) -> Answer:
        self.machine.create_vgic(2, test=arguments.flag("test"))
        return {"ret": 0}

    @operation("which", "addr")
    async def op_vgic_set_addr(self, arguments: Arguments) -> Answer:
        which = arguments.text("which")
        if which not in ("dist", "redist"):
            raise NotApplicable(f"vgic_set_addr: {which} has no address here")
        self.machine.gic.set_address(which, arguments.integer("addr"), len(self.handles))
        return {"ret": 0}

    @operation("value")
    async def op_vgic_set_nr_irqs(self, arguments: Arguments) -> Answer:
        self.machine.gic.set_interrupts(arguments.integer("value"))
        return {"ret": 0}

    @operation()
    async def op_vgic_get_nr_irqs(self, arguments: Arguments) -> Answer:
        return {"ret": 0, "value": self.machine.gic.interrupts}

    @operation()
    async def op_vgic_init(self, arguments: Arguments) -> Answer:
        self.machine.init_vgic()
        return {"ret": 0}

    @operation("group", "offset", "vcpu")
    async def op_vgic_reg(self, arguments: Arguments) -> Answer:
        gic, group, vcpu = self.machine.gic.gic, arguments.integer("group"), arguments.integer("vcpu", 0)
        if group not in (kvm_gic_registers.DIST_REGS, kvm_gic_registers.REDIST_REGS):
            raise NotApplicable(f"vgic_reg: group {group} cannot be read here")
        if vcpu not in self.handles:
            raise OperationRefused(EINVAL, f"there is no vcpu {vcpu}")
        if gic is None or any(self.vm.in_run(handle.vcpu) for handle in self.handles.values()):
            raise OperationRefused(EBUSY, "the GIC is not initialised, or a vCPU runs")
        index = self.handles[vcpu].vcpu.index
        return {"ret": 0, "value": kvm_gic_registers.read(gic, group, index, arguments.integer("offset"))}
