"""Transcripts recorded from Linux KVM/arm64, carried out on a `KvmMachine`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import cast

from avmm.plugin import NotApplicable, OperationRefused
from avmm_arm64.kvm_operations import OPERATIONS, Answer, Arguments
from avmm_arm64.kvm_run_operations import RunOperations
from avmm_arm64.kvm_vcpu_operations import VcpuOperations
from avmm_arm64.kvm_vm_operations import VmOperations


class KvmTranscript(VmOperations, VcpuOperations, RunOperations):
    """One VM under a transcript."""

    async def perform(self, operation: str, arguments: Mapping[str, object]) -> Answer:
        """Carry out one operation and answer as recorded answers are made; NotApplicable when it does not exist here."""
        if operation not in OPERATIONS:
            raise NotApplicable(f"there is no operation {operation!r}")
        signature = OPERATIONS[operation]
        checked = Arguments(operation, arguments, signature.arguments)
        method = cast(Callable[[Arguments], Coroutine[object, object, Answer]], getattr(self, signature.method))
        self.settle()
        try:
            if signature.ioctl:
                self.machine.check_alive()
            if signature.waits and checked.names_a_vcpu and self.vm.in_run(self.handle(checked).vcpu):
                return self.defer(checked, method)
            return await method(checked)
        except OperationRefused as refusal:
            return {"ret": -1, "errno": refusal.errno_name}

    async def close(self) -> None:
        """The case is over."""
        await self.machine.close()
