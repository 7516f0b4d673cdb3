"""How a VM ended."""

from __future__ import annotations

from enum import Enum

from avmm.record import Record


class HaltReason(Enum):
    """Why a VM is over."""

    SHUTDOWN = "shutdown"
    """The guest powered off."""
    RESET = "reset"
    """The guest asked for a reset, and the machine is to end with that (`on_reset = "exit"`)."""
    CRASH = "crash"
    """The guest, or the engine under it, cannot go on."""
    STOPPED = "stopped"
    """The host stopped it."""
    FAILED = "failed"
    """Something of the host's failed: a plugin, or avmm itself. `Vm.halted()` raises instead."""


class Halt(Record):
    """How a VM ended."""

    reason: HaltReason
    detail: str = ""
    status: int = 0
    """What the guest gave as its exit status when it shut down, 0 to 255; 0 where it gave none."""

    def __str__(self) -> str:
        """In words: `shutdown (SYSTEM_OFF)`."""
        return f"{self.reason.value} ({self.detail})" if self.detail else self.reason.value
