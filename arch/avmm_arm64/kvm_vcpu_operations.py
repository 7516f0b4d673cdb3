"""The operations of transcripts on a vCPU that does not run: attributes, registers, power."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Coroutine
from errno import EFAULT, EINVAL, ENXIO

from avmm.plugin import AttributeValue, EngineFactory, EventFilter, ExitReason, NotApplicable, OperationRefused
from avmm_arm64.attributes import GROUPS
from avmm_arm64.kvm_handle import Handle
from avmm_arm64.kvm_machine import FEATURES, GENERIC_TARGET
from avmm_arm64.kvm_operations import DEFAULT_TIMEOUT_MS, Answer, Arguments, Operations, guest, operation
from avmm_arm64.layout import RAM_BASE
from avmm_arm64.pmu_attributes import HOST_PMU

Work = Callable[[Arguments], Coroutine[object, object, Answer]]
_UNREADABLE = ("null", "bad", "kernel", "edge")
"""User pointers that cannot be read; those that can: ro, unaligned."""
_UNWRITABLE = (*_UNREADABLE, "ro")
_ATTRIBUTES = {name: number for group in GROUPS.values() for name, number in group.attributes.items()}
_SMCCC_FILTER = 0, 0
"""KVM_ARM_VM_SMCCC_CTRL, KVM_ARM_VM_SMCCC_FILTER."""


class VcpuOperations(Operations):
    """Operations on a vCPU."""

    def __init__(self, engine: EngineFactory) -> None:
        super().__init__(engine)
        self._deferred: tuple[Handle, Arguments, Work] | None = None
        """An operation on a vCPU that waits for its run to end."""

    # vCPUs: attributes

    @operation("vcpu", "group", "attr", "fd", "flags", "argp", "addr", "value", "filter", "size", waits=True)
    async def op_has_attr(self, arguments: Arguments) -> Answer:
        if self._on_the_vm(arguments):
            self._vm_attribute(arguments)
            return {"ret": 0}
        handle, group, attribute = self._attribute(arguments)
        if not self.machine.attributes.has_attr(handle.vcpu.index, group, attribute):
            raise OperationRefused(ENXIO, f"no attribute {attribute} in group {group}")
        return {"ret": 0}

    @operation("vcpu", "group", "attr", "fd", "flags", "argp", "addr", "value", "filter", "size", waits=True)
    async def op_get_attr(self, arguments: Arguments) -> Answer:
        if not arguments.names_a_vcpu:
            raise OperationRefused(EINVAL, "attributes of the VM cannot be read")
        self._on_the_vm(arguments)
        handle, group, attribute = self._attribute(arguments)
        value = self.machine.attributes.get_attr(handle.vcpu.index, group, attribute)
        if "addr" not in arguments:
            return {"ret": 0, "value": value}
        if arguments.text("addr") in _UNWRITABLE:
            raise OperationRefused(EFAULT, "the value cannot be stored")
        return {"ret": 0}

    @operation("vcpu", "group", "attr", "fd", "flags", "argp", "addr", "value", "filter", "size", waits=True)
    async def op_set_attr(self, arguments: Arguments) -> Answer:
        value = _attribute_value(arguments)
        if self._on_the_vm(arguments):
            self._vm_attribute(arguments)
            if value is None:
                raise OperationRefused(EFAULT, "the filter cannot be read")
            raise OperationRefused(EINVAL, f"{value} is no range of function identifiers")
        handle, group, attribute = self._attribute(arguments)
        self.machine.attributes.set_attr(handle.vcpu.index, group, attribute, value)
        return {"ret": 0}

    def _on_the_vm(self, arguments: Arguments) -> bool:
        """True for an operation on the VM's attributes; OperationRefused (EFAULT) when it does not even say which one."""
        self.handle(arguments)
        if "argp" in arguments:
            raise OperationRefused(EFAULT, "the description of the attribute cannot be read")
        return not arguments.names_a_vcpu

    def _vm_attribute(self, arguments: Arguments) -> None:
        """OperationRefused (ENXIO) but for the one attribute of a VM: SMCCC_FILTER, calls that are left to userspace."""
        group, attribute = _numbers(arguments)
        if (group, attribute) != _SMCCC_FILTER:
            raise OperationRefused(ENXIO, f"the VM has no attribute {attribute} in group {group}")

    def _attribute(self, arguments: Arguments) -> tuple[Handle, int, int]:
        """The vCPU, and group and attribute as numbers."""
        return self.handle(arguments), *_numbers(arguments)

    def defer(self, arguments: Arguments, work: Work) -> Answer:
        """Have `work` wait for the end of its vCPU's run: only one may use a vCPU at a time."""
        if arguments.flag("async"):
            if self._deferred is not None:
                raise NotApplicable("an operation waits for a vCPU already, and was not joined")
            self._deferred = self.handle(arguments), arguments, work
        return {"blocked": True}

    @operation("timeout_ms")
    async def op_join_attr(self, arguments: Arguments) -> Answer:
        if self._deferred is None:
            raise NotApplicable("join_attr: nothing waits for a vCPU")
        handle, deferred, work = self._deferred
        if self.vm.in_run(handle.vcpu):
            await self.vm.wait(lambda: False, arguments.milliseconds("timeout_ms", DEFAULT_TIMEOUT_MS))
            return {"blocked": True}
        self._deferred = None
        return await work(deferred)

    # vCPUs: state

    @operation("vcpu", "features", "target", waits=True)
    async def op_vcpu_init(self, arguments: Arguments) -> Answer:
        handle, features = self.handle(arguments), arguments.items("features")
        known = [feature for feature in features if isinstance(feature, str) and feature in FEATURES]
        if len(known) < len(features):
            raise NotApplicable(
                f"vcpu_init: a feature is {', '.join(sorted(FEATURES))}, none else here: {reprlib.repr(features)}"
            )
        self.machine.init_vcpu(handle, known, arguments.integer("target", GENERIC_TARGET))
        return {"ret": 0}

    @operation("vcpu", "program", waits=True)
    async def op_set_pc(self, arguments: Arguments) -> Answer:
        programs, program = guest()[0], arguments.text("program")
        if program not in programs:
            raise NotApplicable(f"set_pc: the guest has no program {program}")
        self.handle(arguments).set_pc(RAM_BASE + programs[program])
        return {"ret": 0}

    @operation("vcpu", waits=True)
    async def op_get_pc(self, arguments: Arguments) -> Answer:
        pc = self.handle(arguments).pc()
        below = [(offset, name) for name, offset in guest()[0].items() if RAM_BASE + offset <= pc]
        if not below:
            return {"ret": 0, "pc_at": f"?+{RAM_BASE - pc}"}
        offset, name = max(below)
        return {"ret": 0, "pc_at": f"{name}+{pc - RAM_BASE - offset}"}

    @operation("vcpu", waits=True)
    async def op_get_mp_state(self, arguments: Arguments) -> Answer:
        return {"ret": 0, "value": int(self.machine.mp_state(self.handle(arguments)))}

    @operation("vcpu", "value", waits=True)
    async def op_set_mp_state(self, arguments: Arguments) -> Answer:
        self.machine.set_mp_state(self.handle(arguments), arguments.integer("value"))
        return {"ret": 0}

    @operation("vcpu", "name", ioctl=False)
    async def op_stat(self, arguments: Arguments) -> Answer:
        handle, name = self.handle(arguments), arguments.text("name")
        stats = handle.vcpu.stats
        figures = {
            "wfi_exit_stat": stats.exits_by_reason[ExitReason.HALTED] - handle.waits_of_firmware,
            "wfe_exit_stat": stats.exits_by_reason[ExitReason.YIELDED],
            "hvc_exit_stat": stats.exits_by_reason[ExitReason.HYPERCALL],
            "halt_wakeup": stats.wakeups,
            "signal_exits": handle.signal_exits,
            "mmio_exit_user": handle.mmio_exits,
        }
        if name not in figures:
            raise NotApplicable(f"stat: {name} is not counted here")
        return {"ret": 0, "value": figures[name]}


def _numbers(arguments: Arguments) -> tuple[int, int]:
    """Group and attribute as the interface has them; NotApplicable for a name that is none.

    An attribute's name stands for its number in any group.
    """
    group, attribute = arguments.number_or_name("group"), arguments.number_or_name("attr")
    if isinstance(group, str):
        if group not in GROUPS:
            raise NotApplicable(f"there is no attribute group {reprlib.repr(group)}, only {', '.join(GROUPS)} and numbers")
        group = GROUPS[group].number
    if isinstance(attribute, str):
        if attribute not in _ATTRIBUTES:
            raise NotApplicable(f"there is no attribute {reprlib.repr(attribute)}, only {', '.join(_ATTRIBUTES)} and numbers")
        attribute = _ATTRIBUTES[attribute]
    return group & 0xFFFF_FFFF, attribute & 0xFFFF_FFFF_FFFF_FFFF


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
