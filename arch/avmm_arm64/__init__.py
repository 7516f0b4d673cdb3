"""The arm64 architecture: a machine in the shape of QEMU's `virt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avmm.plugin import ArchOptions, EngineFactory, VmServices
from avmm_arm64.arch import Arm64

if TYPE_CHECKING:
    from avmm_arm64.kvm_transcript import KvmTranscript

__all__ = ["Arm64", "create_arch", "create_transcript_machine"]


def create_arch(vm: VmServices, options: ArchOptions) -> Arm64:
    """The factory of the entry point `arm64`."""
    return Arm64(vm, options)


def create_transcript_machine(engine: EngineFactory) -> KvmTranscript:
    """A VM that carries out the operations of a transcript, for `avmm replay`."""
    from avmm_arm64.kvm_transcript import KvmTranscript

    return KvmTranscript(engine)
