"""The operations of transcripts recorded from Linux KVM/arm64, carried out on a `KvmMachine`."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from errno import EBADF, EBUSY, EFAULT, EINTR, EINVAL, ENXIO, errorcode
from functools import cache
from pathlib import Path

from avmm.plugin import (
    AttributeValue,
    EngineFactory,
    EventFilter,
    ExitReason,
    NotApplicable,
    OperationRefused,
    UserspaceVm,
    Width,
    resolve,
)
from avmm_arm64.attributes import GROUPS
from avmm_arm64.gic.redistributor import FRAME_SIZE
from avmm_arm64.kvm_handle import ExitReason as RunExit
from avmm_arm64.kvm_handle import Handle
from avmm_arm64.kvm_machine import GENERIC_TARGET, MAX_VCPUS, KvmMachine
from avmm_arm64.layout import RAM_BASE
from avmm_arm64.pmu_attributes import HOST_PMU

Answer = dict[str, object]

_NS_PER_MS = 1_000_000
_DEFAULT_TIMEOUT_MS = 4000
_UNREADABLE = ("null", "bad", "kernel", "edge")
"""User pointers that cannot be read; those that can: ro, unaligned."""
_UNWRITABLE = (*_UNREADABLE, "ro")
_CAPABILITIES = {
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
}
_DIST_REGS, _REDIST_REGS = 1, 5


class _Arguments:
    """A step's arguments; NotApplicable for one that nobody knows and for a value of another type."""

    def __init__(self, operation: str, given: Mapping[str, object], known: tuple[str, ...]) -> None:
        self._operation, self._given = operation, given
        for name in given:
            if name not in known:
                raise NotApplicable(f"{operation} has no argument {name!r}")

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def integer(self, name: str, default: int | None = None) -> int:
        """A number; `default` where it is not given."""
        value = self._given.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._unknown(name, value)
        return value

    def text(self, name: str) -> str:
        """A string."""
        value = self._given.get(name)
        if not isinstance(value, str):
            raise self._unknown(name, value)
        return value

    def flag(self, name: str) -> bool:
        """True or false; false where it is not given."""
        value = self._given.get(name, False)
        if not isinstance(value, bool):
            raise self._unknown(name, value)
        return value

    def number_or_name(self, name: str) -> int | str:
        """What the interface numbers and transcripts may name."""
        return self.text(name) if isinstance(self._given.get(name), str) else self.integer(name)

    def items(self, name: str) -> list[object]:
        """A list."""
        value = self._given.get(name)
        if not isinstance(value, list):
            raise self._unknown(name, value)
        return value

    def _unknown(self, name: str, value: object) -> NotApplicable:
        return NotApplicable(f"{self._operation}: {name} cannot be {value!r}")


Operation = Callable[["KvmTranscript", _Arguments], Coroutine[object, object, Answer]]
_OPERATIONS: dict[str, tuple[Operation, tuple[str, ...], bool]] = {}


def _operation(*arguments: str, ioctl: bool = True) -> Callable[[Operation], Operation]:
    """An operation `_name` with these arguments; one that is an `ioctl` fails with EIO on a VM that is dead."""

    def register(method: Operation) -> Operation:
        _OPERATIONS[method.__name__.removeprefix("op_")] = method, arguments, ioctl
        return method

    return register


class KvmTranscript:
    """One VM under a transcript."""

    def __init__(self, engine: EngineFactory) -> None:
        self._vm = UserspaceVm("transcript")
        self._machine = KvmMachine(self._vm, engine)
        self._handles: dict[int, Handle] = {}
        self._finished: dict[int, Answer] = {}
        """Answers of runs begun by `run_async` that were over at once, by vCPU index, until they are joined."""
        self._deferred: tuple[Handle, Callable[[], None]] | None = None
        """An operation on a vCPU that waits for its run to end."""

    async def perform(self, operation: str, arguments: Mapping[str, object]) -> Answer:
        """Carry out one operation and answer as recorded answers are made; NotApplicable when it does not exist here."""
        if operation not in _OPERATIONS:
            raise NotApplicable(f"there is no operation {operation!r}")
        method, known, ioctl = _OPERATIONS[operation]
        checked = _Arguments(operation, arguments, known)
        try:
            if ioctl:
                self._machine.check_alive()
            return await method(self, checked)
        except OperationRefused as refusal:
            return {"ret": -1, "errno": refusal.errno_name}

    async def close(self) -> None:
        """The case is over."""
        await self._machine.close()

    # The VM

    @_operation()
    async def op_create_vm(self, arguments: _Arguments) -> Answer:
        return {"ret": 0}

    @_operation("vcpu", "id")
    async def op_create_vcpu(self, arguments: _Arguments) -> Answer:
        name = arguments.integer("vcpu")
        self._handles[name] = self._machine.create_vcpu(arguments.integer("id", name))
        return {"ret": 0}

    @_operation("vcpu", ioctl=False)
    async def op_close_vcpu(self, arguments: _Arguments) -> Answer:
        self._handle(arguments).closed = True
        return {"ret": 0}

    @_operation("cap", "num", "on")
    async def op_check_extension(self, arguments: _Arguments) -> Answer:
        capability = arguments.text("cap")
        if capability not in _CAPABILITIES:
            raise NotApplicable(f"check_extension: nothing is known of {capability}")
        return {"ret": _CAPABILITIES[capability]}

    @_operation("cap", "num")
    async def op_enable_cap(self, arguments: _Arguments) -> Answer:
        if arguments.text("cap") != "ARM_SYSTEM_SUSPEND":
            raise NotApplicable(f"enable_cap: {arguments.text('cap')} cannot be enabled here")
        self._machine.system_suspend = True
        return {"ret": 0}

    @_operation(ioctl=False)
    async def op_load_guest(self, arguments: _Arguments) -> Answer:
        self._machine.load(_guest()[1])
        return {"ret": 0}

    @_operation("type", "num", "vcpu", "level")
    async def op_irq_line(self, arguments: _Arguments) -> Answer:
        kind = arguments.number_or_name("type")
        vcpu, number, level = (arguments.integer(name) for name in ("vcpu", "num", "level"))
        self._machine.irq_line(kind, vcpu, number, bool(level))
        return {"ret": 0}

    @_operation("ms", ioctl=False)
    async def op_sleep(self, arguments: _Arguments) -> Answer:
        await self._vm.wait(lambda: False, arguments.integer("ms") * _NS_PER_MS)
        return {"ret": 0}

    # The GIC

    @_operation("test")
    async def op_create_vgic_v3(self, arguments: _Arguments) -> Answer:
        self._machine.create_vgic(3, test=arguments.flag("test"))
        return {"ret": 0}

    @_operation("test")
    async def op_create_vgic_v2(self, arguments: _Arguments) -> Answer:
        self._machine.create_vgic(2, test=arguments.flag("test"))
        return {"ret": 0}

    @_operation("which", "addr")
    async def op_vgic_set_addr(self, arguments: _Arguments) -> Answer:
        which = arguments.text("which")
        if which not in ("dist", "redist"):
            raise NotApplicable(f"vgic_set_addr: {which} has no address here")
        self._machine.gic.set_address(which, arguments.integer("addr"), len(self._handles))
        return {"ret": 0}

    @_operation("value")
    async def op_vgic_set_nr_irqs(self, arguments: _Arguments) -> Answer:
        self._machine.gic.set_interrupts(arguments.integer("value"))
        return {"ret": 0}

    @_operation()
    async def op_vgic_get_nr_irqs(self, arguments: _Arguments) -> Answer:
        return {"ret": 0, "value": self._machine.gic.interrupts}

    @_operation()
    async def op_vgic_init(self, arguments: _Arguments) -> Answer:
        self._machine.init_vgic()
        return {"ret": 0}

    @_operation("group", "offset", "vcpu")
    async def op_vgic_reg(self, arguments: _Arguments) -> Answer:
        gic, group, offset = self._machine.gic.gic, arguments.integer("group"), arguments.integer("offset")
        if group not in (_DIST_REGS, _REDIST_REGS):
            raise NotApplicable(f"vgic_reg: group {group} cannot be read here")
        if gic is None or any(self._vm.in_run(handle.vcpu) for handle in self._handles.values()):
            raise OperationRefused(EBUSY, "the GIC is not initialised, or a vCPU runs")
        if group == _DIST_REGS:
            return {"ret": 0, "value": gic.distributor.read(offset, Width.W32)}
        return {"ret": 0, "value": gic.region.read(arguments.integer("vcpu", 0) * FRAME_SIZE + offset, Width.W32)}

    # vCPUs: attributes

    @_operation("vcpu", "group", "attr", "fd", "flags", "argp", "addr", "value", "filter", "size")
    async def op_has_attr(self, arguments: _Arguments) -> Answer:
        handle, group, attribute = self._attribute(arguments)
        if not self._machine.attributes.has_attr(handle.vcpu.index, group, attribute):
            raise OperationRefused(ENXIO, f"no attribute {attribute} in group {group}")
        return {"ret": 0}

    @_operation("vcpu", "group", "attr", "fd", "flags", "argp", "addr", "value", "filter", "size")
    async def op_get_attr(self, arguments: _Arguments) -> Answer:
        handle, group, attribute = self._attribute(arguments, vm_errno=EINVAL)
        value = self._machine.attributes.get_attr(handle.vcpu.index, group, attribute)
        if "addr" not in arguments:
            return {"ret": 0, "value": value}
        if arguments.text("addr") in _UNWRITABLE:
            raise OperationRefused(EFAULT, "the value cannot be stored")
        return {"ret": 0}

    @_operation("vcpu", "group", "attr", "fd", "flags", "argp", "addr", "value", "filter", "size", "async")
    async def op_set_attr(self, arguments: _Arguments) -> Answer:
        handle, group, attribute = self._attribute(arguments)
        value = _attribute_value(arguments)
        return self._unless_in_run(
            handle, arguments, lambda: self._machine.attributes.set_attr(handle.vcpu.index, group, attribute, value)
        )

    def _attribute(self, arguments: _Arguments, vm_errno: int = ENXIO) -> tuple[Handle, int, int]:
        """The vCPU, and group and attribute as numbers."""
        handle = self._handle(arguments)
        if "argp" in arguments:
            raise OperationRefused(EFAULT, "the description of the attribute cannot be read")
        if "fd" in arguments:
            raise OperationRefused(vm_errno, "the VM as a whole has no attributes")
        return handle, *resolve(GROUPS, arguments.number_or_name("group"), arguments.number_or_name("attr"))

    def _unless_in_run(self, handle: Handle, arguments: _Arguments, work: Callable[[], None]) -> Answer:
        """Do `work` on a vCPU, or have it wait for the end of its run: only one may use a vCPU at a time."""
        if not self._vm.in_run(handle.vcpu):
            work()
            return {"ret": 0}
        if arguments.flag("async"):
            self._deferred = handle, work
        return {"blocked": True}

    @_operation("timeout_ms")
    async def op_join_attr(self, arguments: _Arguments) -> Answer:
        if self._deferred is None:
            raise NotApplicable("join_attr: nothing waits for a vCPU")
        handle, work = self._deferred
        if self._vm.in_run(handle.vcpu):
            await self._vm.wait(lambda: False, arguments.integer("timeout_ms", _DEFAULT_TIMEOUT_MS) * _NS_PER_MS)
            return {"blocked": True}
        self._deferred = None
        work()
        return {"ret": 0}

    # vCPUs: state

    @_operation("vcpu", "features", "target")
    async def op_vcpu_init(self, arguments: _Arguments) -> Answer:
        handle, features = self._handle(arguments), arguments.items("features")
        if unknown := set(features) - {"psci_0_2", "pmu_v3", "power_off"}:
            raise NotApplicable(f"vcpu_init: no feature {', '.join(sorted(map(str, unknown)))} here")
        self._machine.init_vcpu(handle, [str(feature) for feature in features], arguments.integer("target", GENERIC_TARGET))
        return {"ret": 0}

    @_operation("vcpu", "program")
    async def op_set_pc(self, arguments: _Arguments) -> Answer:
        programs, program = _guest()[0], arguments.text("program")
        if program not in programs:
            raise NotApplicable(f"set_pc: the guest has no program {program}")
        self._handle(arguments).set_pc(RAM_BASE + programs[program])
        return {"ret": 0}

    @_operation("vcpu")
    async def op_get_pc(self, arguments: _Arguments) -> Answer:
        pc = self._handle(arguments).pc()
        below = [(offset, name) for name, offset in _guest()[0].items() if RAM_BASE + offset <= pc]
        if not below:
            return {"ret": 0, "pc_at": f"?+{RAM_BASE - pc}"}
        offset, name = max(below)
        return {"ret": 0, "pc_at": f"{name}+{pc - RAM_BASE - offset}"}

    @_operation("vcpu")
    async def op_get_mp_state(self, arguments: _Arguments) -> Answer:
        return {"ret": 0, "value": int(self._machine.mp_state(self._handle(arguments)))}

    @_operation("vcpu", "value", "async")
    async def op_set_mp_state(self, arguments: _Arguments) -> Answer:
        handle, state = self._handle(arguments), arguments.integer("value")
        return self._unless_in_run(handle, arguments, lambda: self._machine.set_mp_state(handle, state))

    @_operation("vcpu", "name", ioctl=False)
    async def op_stat(self, arguments: _Arguments) -> Answer:
        stats, name = self._handle(arguments).vcpu.stats, arguments.text("name")
        exits = {"wfi_exit_stat": ExitReason.HALTED, "wfe_exit_stat": ExitReason.YIELDED, "hvc_exit_stat": ExitReason.HYPERCALL}
        if name in exits:
            return {"ret": 0, "value": stats.exits_by_reason[exits[name]]}
        if name != "halt_wakeup":
            raise NotApplicable(f"stat: {name} is not counted here")
        return {"ret": 0, "value": stats.wakeups}

    # vCPUs: runs

    @_operation("vcpu", "timeout_ms", "immediate_exit", "preset_exit_reason", "block_signal", ioctl=False)
    async def op_run(self, arguments: _Arguments) -> Answer:
        started = await self.op_run_async(arguments)
        return await self.op_join(arguments) if "started" in started else started

    @_operation("vcpu", "immediate_exit", "preset_exit_reason", "block_signal", ioctl=False)
    async def op_run_async(self, arguments: _Arguments) -> Answer:
        handle = self._handle(arguments)
        if self._vm.in_run(handle.vcpu):
            return {"blocked": True, "note": "previous run still in progress"}
        if "immediate_exit" in arguments:
            handle.run.immediate_exit = arguments.integer("immediate_exit")
        if "preset_exit_reason" in arguments:
            handle.run.exit_reason = arguments.integer("preset_exit_reason")
        handle.signals.thread_blocks(arguments.flag("block_signal"))
        try:
            if not self._machine.begin_run(handle):
                self._finished[handle.vcpu.index] = _run_answer(handle, EINTR)
        except OperationRefused as refusal:
            self._finished[handle.vcpu.index] = _run_answer(handle, refusal.errno)
        return {"started": True}

    @_operation("vcpu", "timeout_ms", "immediate_exit", "preset_exit_reason", "block_signal", ioctl=False)
    async def op_join(self, arguments: _Arguments) -> Answer:
        handle = self._handle(arguments)
        vcpu = handle.vcpu
        if vcpu.index in self._finished:
            return self._finished.pop(vcpu.index)
        if not self._vm.in_run(vcpu):
            raise NotApplicable(f"join: vcpu {vcpu.index} is in no run")
        timeout_ns = arguments.integer("timeout_ms", _DEFAULT_TIMEOUT_MS) * _NS_PER_MS
        if await self._vm.wait(lambda: self._vm.run_over(vcpu), timeout_ns):
            return _run_answer(handle, self._machine.end_run(handle))
        return {"blocked": True, "thread_state": self._thread_state(handle)}

    @_operation("vcpu", ioctl=False)
    async def op_thread_state(self, arguments: _Arguments) -> Answer:
        return {"ret": 0, "thread_state": self._thread_state(self._handle(arguments))}

    def _thread_state(self, handle: Handle) -> str:
        """S while the vCPU sleeps, R while it is in the guest."""
        return "S" if handle.vcpu.asleep or not self._vm.in_run(handle.vcpu) else "R"

    @_operation("vcpu", "value", ioctl=False)
    async def op_set_immediate_exit(self, arguments: _Arguments) -> Answer:
        self._handle(arguments).run.immediate_exit = arguments.integer("value")
        return {"ret": 0}

    @_operation("vcpu", ioctl=False)
    async def op_signal(self, arguments: _Arguments) -> Answer:
        await self._machine.signal(self._handle(arguments))
        return {"ret": 0}

    @_operation("vcpu", "mask")
    async def op_set_signal_mask(self, arguments: _Arguments) -> Answer:
        if arguments.text("mask") != "0x0":
            raise NotApplicable("set_signal_mask: only the empty mask is known")
        self._handle(arguments).signals.mask_allows = True
        return {"ret": 0}

    def _handle(self, arguments: _Arguments) -> Handle:
        number = arguments.integer("vcpu", 0)
        if number not in self._handles:
            raise NotApplicable(f"there is no vcpu {number}")
        handle = self._handles[number]
        if handle.closed:
            raise OperationRefused(EBADF, f"vcpu {number} was closed")
        return handle


def _attribute_value(arguments: _Arguments) -> AttributeValue:
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


def _run_answer(handle: Handle, errno: int | None) -> Answer:
    """What a run answers: its return value, and what stands in struct kvm_run then."""
    run = handle.run
    reason = RunExit(run.exit_reason).name if run.exit_reason in frozenset(RunExit) else str(run.exit_reason)
    answer: Answer = (
        {"ret": 0, "exit_reason": reason} if errno is None else {"ret": -1, "errno": errorcode[errno], "exit_reason": reason}
    )
    if errno is None and run.exit_reason == RunExit.MMIO and run.mmio is not None:
        mmio: Answer = {"addr": run.mmio.address, "len": run.mmio.width, "is_write": int(run.mmio.value is not None)}
        answer["mmio"] = mmio if run.mmio.value is None else {**mmio, "data": run.mmio.value}
    if errno is None and run.exit_reason == RunExit.SYSTEM_EVENT and run.system_event is not None:
        answer["system_event"] = {"type": int(run.system_event.kind), "flags": run.system_event.flags}
    return {**answer, "device_irq_level": run.device_irq_level}


@cache
def _guest() -> tuple[dict[str, int], bytes]:
    """The guest that transcripts run: where its programs start, as offsets from the start of memory, and its image."""
    guest = json.loads(Path(__file__).with_name("kvm_guest.json").read_text())
    return guest["programs"], bytes.fromhex(guest["image"])
