"""Steps: a paused vCPU executes so many instructions, by its own run loop, and is paused again."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, assert_never

from avmm.exits import BudgetExhausted, Debug, Exit, Fault, Halted, Kicked, Yielded
from avmm.vcpu.requests import Request

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu


class StepEnd(Enum):
    """What ended a step."""

    BUDGET = "budget"
    """All of its instructions are executed."""
    HALTED = "halted"
    """The guest waits for an interrupt."""
    OFF = "off"
    """The guest powered the vCPU off."""
    DEBUG = "debug"
    """A breakpoint."""
    FAULT = "fault"
    """The engine cannot go on with this guest."""
    OVER = "over"
    """The run ended: the VM's end, or a reset."""


class Step:
    """One step of one vCPU. Everything happens on the event loop's thread but `budget`, which the slot's thread asks."""

    __slots__ = ("_before", "_counting", "_left", "_vcpu", "ended", "executed")

    def __init__(self, vcpu: Vcpu, instructions: int, *, counting: bool) -> None:
        """`counting`: whether the engine counts instructions anyway."""
        self._vcpu, self._left, self._counting = vcpu, instructions, counting
        self.executed = 0
        self._before = vcpu.engine.instructions
        self.ended: asyncio.Future[StepEnd] = asyncio.get_running_loop().create_future()

    async def run(self) -> StepEnd:
        """Execute; what ended it. The vCPU is paused and outside the guest. A cancelled step ends at once."""
        vcpu = self._vcpu
        if vcpu.sleep.halted and not vcpu.arch.runnable():
            return StepEnd.HALTED
        vcpu.engine.count_instructions(on=True)
        vcpu.step = self
        vcpu.wake_up()
        try:
            return await asyncio.shield(self.ended)
        except asyncio.CancelledError:
            self._left = 0
            vcpu.make_request_and_kick(Request.SLEEP)
            raise

    def budget(self, limit: int) -> int:
        """How many instructions the next entry may execute, and no more than `limit` if that is not 0."""
        left = max(1, self._left)
        return min(left, limit) if limit else left

    def left_guest(self, exit_: Exit) -> None:
        """Guest mode was left: is that the end of the step? Before anything is done about the exit."""
        vcpu = self._vcpu
        now = vcpu.engine.instructions
        self.executed += now - self._before
        self._left -= now - self._before
        self._before = now
        match exit_:
            case Kicked() | BudgetExhausted() | Yielded():
                if self._left <= 0:
                    self.end(StepEnd.BUDGET)
                elif vcpu.powered_off:
                    self.end(StepEnd.OFF)
            case Halted():
                self.end(StepEnd.HALTED)
            case Debug():
                self.end(StepEnd.DEBUG)
            case Fault():
                self.end(StepEnd.FAULT)
            case _:
                assert_never(exit_)

    def end(self, how: StepEnd) -> None:
        """The step is over: the vCPU, outside the guest, is paused as before."""
        vcpu = self._vcpu
        vcpu.step = None
        vcpu.engine.count_instructions(self._counting)
        vcpu.make_request(Request.SLEEP)  # its run loop looks at it next
        if not self.ended.done():
            self.ended.set_result(how)
