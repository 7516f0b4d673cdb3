"""The operations of transcripts around KVM_RUN."""

from __future__ import annotations

from errno import errorcode

from avmm.plugin import EngineFactory, NotApplicable, OperationRefused
from avmm_arm64.kvm_handle import ExitReason, Handle
from avmm_arm64.kvm_operations import DEFAULT_TIMEOUT_MS, Answer, Arguments, Operations, operation


class RunOperations(Operations):
    """Operations on a vCPU's runs."""

    def __init__(self, engine: EngineFactory) -> None:
        super().__init__(engine)
        self._finished: dict[int, Answer] = {}
        """Answers of runs that are over, by vCPU index, until they are joined, or another run begins."""

    def settle(self) -> None:
        """Take down the runs that have ended meanwhile: whoever comes next finds their vCPUs as they left them."""
        for handle in self.machine.handles:
            if self.vm.run_over(handle.vcpu):
                self._finished[handle.vcpu.index] = _run_answer(handle, self.machine.end_run(handle))

    @operation("vcpu", "timeout_ms", "immediate_exit", "preset_exit_reason", "block_signal", ioctl=False)
    async def op_run(self, arguments: Arguments) -> Answer:
        timeout_ns = arguments.milliseconds("timeout_ms", DEFAULT_TIMEOUT_MS)
        started = await self.op_run_async(arguments)
        return await self._join(self.handle(arguments), timeout_ns) if "started" in started else started

    @operation("vcpu", "immediate_exit", "preset_exit_reason", "block_signal", ioctl=False)
    async def op_run_async(self, arguments: Arguments) -> Answer:
        handle = self.handle(arguments)
        if self.vm.in_run(handle.vcpu):
            return {"blocked": True, "note": "previous run still in progress"}
        if "immediate_exit" in arguments:
            handle.run.immediate_exit = arguments.integer("immediate_exit") & 0xFF
        if "preset_exit_reason" in arguments:
            handle.run.exit_reason = arguments.integer("preset_exit_reason")
        handle.signals.thread_blocks(arguments.flag("block_signal"))
        self._finished.pop(handle.vcpu.index, None)
        try:
            if not self.machine.begin_run(handle):
                self._finished[handle.vcpu.index] = _run_answer(handle, None)
        except OperationRefused as refusal:
            self._finished[handle.vcpu.index] = _run_answer(handle, refusal.errno)
        return {"started": True}

    @operation("vcpu", "timeout_ms", ioctl=False)
    async def op_join(self, arguments: Arguments) -> Answer:
        return await self._join(self.handle(arguments), arguments.milliseconds("timeout_ms", DEFAULT_TIMEOUT_MS))

    async def _join(self, handle: Handle, timeout_ns: int) -> Answer:
        vcpu = handle.vcpu
        if vcpu.index in self._finished:
            return self._finished.pop(vcpu.index)
        if not self.vm.in_run(vcpu):
            raise NotApplicable(f"join: vcpu {vcpu.index} is in no run, and none waits to be joined")
        if await self.vm.wait(lambda: self.vm.run_over(vcpu), timeout_ns):
            return _run_answer(handle, self.machine.end_run(handle))
        return {"blocked": True, "thread_state": self._thread_state(handle)}

    @operation("vcpu", ioctl=False)
    async def op_thread_state(self, arguments: Arguments) -> Answer:
        return {"ret": 0, "thread_state": self._thread_state(self.handle(arguments))}

    def _thread_state(self, handle: Handle) -> str:
        """S while the vCPU sleeps, R while it is in the guest."""
        return "S" if handle.vcpu.asleep or not self.vm.in_run(handle.vcpu) else "R"

    @operation("vcpu", "value", ioctl=False)
    async def op_set_immediate_exit(self, arguments: Arguments) -> Answer:
        self.handle(arguments).run.immediate_exit = arguments.integer("value") & 0xFF
        return {"ret": 0}

    @operation("vcpu", ioctl=False)
    async def op_signal(self, arguments: Arguments) -> Answer:
        await self.machine.signal(self.handle(arguments))
        return {"ret": 0}

    @operation("vcpu", "mask", waits=True)
    async def op_set_signal_mask(self, arguments: Arguments) -> Answer:
        mask = arguments.text("mask")
        try:
            blocked = int(mask, 0)
        except ValueError:
            raise NotApplicable(f"set_signal_mask: {mask!r} is no number") from None
        # Which signal it is that is sent, a transcript does not say: a mask that blocks any is taken to block that one.
        self.handle(arguments).signals.mask_allows = blocked == 0
        return {"ret": 0}


def _run_answer(handle: Handle, errno: int | None) -> Answer:
    """What a run answers: its return value, and what stands in struct kvm_run then."""
    run = handle.run
    reason = ExitReason(run.exit_reason).name if run.exit_reason in frozenset(ExitReason) else str(run.exit_reason)
    answer: Answer = (
        {"ret": 0, "exit_reason": reason} if errno is None else {"ret": -1, "errno": errorcode[errno], "exit_reason": reason}
    )
    if errno is None and run.exit_reason == ExitReason.MMIO and run.mmio is not None:
        mmio: Answer = {"addr": run.mmio.address, "len": run.mmio.width, "is_write": int(run.mmio.value is not None)}
        answer["mmio"] = mmio if run.mmio.value is None else {**mmio, "data": run.mmio.value}
    if errno is None and run.exit_reason == ExitReason.SYSTEM_EVENT and run.system_event is not None:
        answer["system_event"] = {"type": int(run.system_event.kind), "flags": run.system_event.flags}
    return {**answer, "device_irq_level": run.device_irq_level}
