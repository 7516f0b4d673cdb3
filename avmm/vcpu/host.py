"""Whom a vCPU tells of what it cannot settle by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from avmm.clock import Clock

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu


class VcpuHost(Protocol):
    """The VM, as a vCPU needs it."""

    clock: Clock

    def vcpu_failed(self, vcpu: Vcpu, detail: str) -> None:
        """The guest cannot go on: an engine fault. Ends the VM as a crash."""

    def vcpu_stopped_for_debug(self, vcpu: Vcpu, pc: int) -> None:
        """A host breakpoint: pause the VM."""


class IdleWatch(Protocol):
    """Whoever wants to know when every vCPU sleeps (virtual time jumps then)."""

    def sleeps(self) -> None:
        """One more vCPU sleeps, or is about to look whether it must. The event loop's thread."""
