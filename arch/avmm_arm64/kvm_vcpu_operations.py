"""The operations of transcripts on a vCPU that does not run: attributes, registers, power."""

from __future__ import annotations

from collections.abc import Callable
from errno import EFAULT, EINVAL, ENXIO

from avmm.plugin import AttributeValue, EngineFactory, EventFilter, ExitReason, NotApplicable, OperationRefused, resolve
from avmm_arm64.attributes import GROUPS
from avmm_arm64.kvm_handle import Handle
from avmm_arm64.kvm_machine import GENERIC_TARGET
from avmm_arm64.kvm_operations import DEFAULT_TIMEOUT_MS, NS_PER_MS, Answer, Arguments, Operations, guest, operation
from avmm_arm64.layout import RAM_BASE
from avmm_arm64.pmu_attributes import HOST_PMU

_UNREADABLE = ("null", "bad", "kernel", "edge")
"""User pointers that cannot be read; those that can: ro, unaligned."""
_UNWRITABLE = (*_UNREADABLE, "ro")
_SMCCC_FILTER = 0, 0
"""KVM_ARM_VM_SMCCC_CTRL, KVM_ARM_VM_SMCCC_FILTER."""


class VcpuOperations(Operations):
    """Operations on a vCPU."""

    def __init__(self, engine: EngineFactory) -> None:
        super().__init__(engine)
        self._deferred: tuple[Handle, Callable[[], None]] | None = None
        """An operation on a vCPU that waits for its run to end."""

    # vCPUs: attributes

    @operation("vcpu", "group", "attr", "fd", "flags", "argp", "addr", "value", "filter", "size")
    async def op_has_attr(self, arguments: Arguments) -> Answer:
        if self._on_the_vm(arguments):
            self._vm_attribute(arguments)
            return {"ret": 0}
        handle, group, attribute = self._attribute(arguments)
        if not self.machine.attributes.has_attr(handle.vcpu.index, group, attribute):
            raise OperationRefused(ENXIO, f"no attribute {attribute} in group {group}")
        return {"ret": 0}

    @operation("vcpu", "group", "attr", "fd", "flags", "argp", "addr", "value", "filter", "size")
    async def op_get_attr(self, arguments: Arguments) -> Answer:
        if self._on_the_vm(arguments):
            raise OperationRefused(EINVAL, "attributes of the VM cannot be read")
        handle, group, attribute = self._attribute(arguments)
        value = self.machine.attributes.get_attr(handle.vcpu.index, group, attribute)
        if "addr" not in arguments:
            return {"ret": 0, "value": value}
        if arguments.text("addr") in _UNWRITABLE:
            raise OperationRefused(EFAULT, "the value cannot be stored")
        return {"ret": 0}

    @operation("vcpu", "group", "attr", "fd", "flags", "argp", "addr", "value", "filter", "size", "async")
    async def op_set_attr(self, arguments: Arguments) -> Answer:
        value = _attribute_value(arguments)
        if self._on_the_vm(arguments):
            self._vm_attribute(arguments)
            if value is None:
                raise OperationRefused(EFAULT, "the filter cannot be read")
            raise OperationRefused(EINVAL, f"{value} is no range of function identifiers")
        handle, group, attribute = self._attribute(arguments)
        return self._unless_in_run(
            handle, arguments, lambda: self.machine.attributes.set_attr(handle.vcpu.index, group, attribute, value)
        )

    def _on_the_vm(self, arguments: Arguments) -> bool:
        """True for an operation on the VM's attributes; OperationRefused (EFAULT) when it does not even say which one."""
        self.handle(arguments)
        if "argp" in arguments:
            raise OperationRefused(EFAULT, "the description of the attribute cannot be read")
        return "fd" in arguments

    def _vm_attribute(self, arguments: Arguments) -> None:
        """OperationRefused (ENXIO) but for the one attribute of a VM: SMCCC_FILTER, calls that are left to userspace."""
        group, attribute = resolve(GROUPS, arguments.number_or_name("group"), arguments.number_or_name("attr"))
        if (group, attribute) != _SMCCC_FILTER:
            raise OperationRefused(ENXIO, f"the VM has no attribute {attribute} in group {group}")

    def _attribute(self, arguments: Arguments) -> tuple[Handle, int, int]:
        """The vCPU, and group and attribute as numbers."""
        handle = self.handle(arguments)
        return handle, *resolve(GROUPS, arguments.number_or_name("group"), arguments.number_or_name("attr"))

    def _unless_in_run(self, handle: Handle, arguments: Arguments, work: Callable[[], None]) -> Answer:
        """Do `work` on a vCPU, or have it wait for the end of its run: only one may use a vCPU at a time."""
        if not self.vm.in_run(handle.vcpu):
            work()
            return {"ret": 0}
        if arguments.flag("async"):
            self._deferred = handle, work
        return {"blocked": True}

    @operation("timeout_ms")
    async def op_join_attr(self, arguments: Arguments) -> Answer:
        if self._deferred is None:
            raise NotApplicable("join_attr: nothing waits for a vCPU")
        handle, work = self._deferred
        if self.vm.in_run(handle.vcpu):
            await self.vm.wait(lambda: False, arguments.integer("timeout_ms", DEFAULT_TIMEOUT_MS) * NS_PER_MS)
            return {"blocked": True}
        self._deferred = None
        work()
        return {"ret": 0}

    # vCPUs: state

    @operation("vcpu", "features", "target")
    async def op_vcpu_init(self, arguments: Arguments) -> Answer:
        handle, features = self.handle(arguments), arguments.items("features")
        if unknown := set(features) - {"psci_0_2", "pmu_v3", "power_off"}:
            raise NotApplicable(f"vcpu_init: no feature {', '.join(sorted(map(str, unknown)))} here")
        self.machine.init_vcpu(handle, [str(feature) for feature in features], arguments.integer("target", GENERIC_TARGET))
        return {"ret": 0}

    @operation("vcpu", "program")
    async def op_set_pc(self, arguments: Arguments) -> Answer:
        programs, program = guest()[0], arguments.text("program")
        if program not in programs:
            raise NotApplicable(f"set_pc: the guest has no program {program}")
        self.handle(arguments).set_pc(RAM_BASE + programs[program])
        return {"ret": 0}

    @operation("vcpu")
    async def op_get_pc(self, arguments: Arguments) -> Answer:
        pc = self.handle(arguments).pc()
        below = [(offset, name) for name, offset in guest()[0].items() if RAM_BASE + offset <= pc]
        if not below:
            return {"ret": 0, "pc_at": f"?+{RAM_BASE - pc}"}
        offset, name = max(below)
        return {"ret": 0, "pc_at": f"{name}+{pc - RAM_BASE - offset}"}

    @operation("vcpu")
    async def op_get_mp_state(self, arguments: Arguments) -> Answer:
        return {"ret": 0, "value": int(self.machine.mp_state(self.handle(arguments)))}

    @operation("vcpu", "value", "async")
    async def op_set_mp_state(self, arguments: Arguments) -> Answer:
        handle, state = self.handle(arguments), arguments.integer("value")
        return self._unless_in_run(handle, arguments, lambda: self.machine.set_mp_state(handle, state))

    @operation("vcpu", "name", ioctl=False)
    async def op_stat(self, arguments: Arguments) -> Answer:
        handle, name = self.handle(arguments), arguments.text("name")
        stats = handle.vcpu.stats
        exits = {"wfi_exit_stat": ExitReason.HALTED, "wfe_exit_stat": ExitReason.YIELDED, "hvc_exit_stat": ExitReason.HYPERCALL}
        if name in exits:
            return {"ret": 0, "value": stats.exits_by_reason[exits[name]]}
        others = {"halt_wakeup": stats.wakeups, "signal_exits": handle.signal_exits, "mmio_exit_user": handle.mmio_exits}
        if name not in others:
            raise NotApplicable(f"stat: {name} is not counted here")
        return {"ret": 0, "value": others[name]}


def _attribute_value(arguments: Arguments) -> AttributeValue:
    """What an attribute is set to; None when it cannot be read."""
    if "addr" in arguments and arguments.text("addr") in _UNREADABLE:
        return None
    if "filter" in arguments:
        parts = arguments.items("filter")
        match parts:
            case [int(first), int(count), int(action)]:
                return EventFilter(first, count, action)
            case _:
                raise NotApplicable(f"set_attr: a filter is three numbers, not {parts!r}")
    if "value" not in arguments:
        return None
    value = arguments.number_or_name("value")
    if isinstance(value, str):
        if value != "@hostpmu":
            raise NotApplicable(f"set_attr: {value!r} names no value")
        return HOST_PMU
    return value
