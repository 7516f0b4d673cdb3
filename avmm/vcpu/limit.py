"""A limit to what one vCPU executes: so many instructions, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu


class InstructionLimit:
    """Lets `vcpu` execute `instructions` more and then calls `reached`, with the vCPU outside the guest.

    Exact where the engine's budgets are (`Engine.exact_budgets`); the engine counts instructions. Owner: the vCPU's own thread.
    """

    __slots__ = ("_engine", "_reached", "_until")

    def __init__(self, vcpu: Vcpu, instructions: int, reached: Callable[[], None]) -> None:
        self._engine, self._reached = vcpu.engine, reached
        self._until = self._engine.instructions + instructions

    def budget(self, limit: int) -> int:
        """How many instructions the next entry may execute, and no more than `limit` if that is not 0."""
        left = max(1, self._until - self._engine.instructions)
        return min(left, limit) if limit else left

    def left_guest(self) -> None:
        """Guest mode was left: was that the last one?"""
        if self._engine.instructions >= self._until:
            self._reached()
