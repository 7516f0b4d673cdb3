"""Mutants of steering: steps, limits, registers."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import LIMITS, STEERING, VCPU

LIMIT = "avmm/vcpu/limit.py"
STEP = "avmm/vcpu/step.py"


MUTANTS = [
    Mutant(
        "a step goes one too far", STEP, "        left = max(1, self._left)\n", "        left = self._left + 1\n", (STEERING,)
    ),
    Mutant(
        "a limit is one too high",
        LIMIT,
        "self._until = self._engine.instructions",
        "self._until = 1 + self._engine.instructions",
        (LIMITS,),
    ),
    Mutant("a limit does not hold for an entry", LIMIT, "return min(left, limit) if limit else left", "return limit", (LIMITS,)),
    Mutant("a step waits for a halt to end", STEP, "vcpu.sleep.halted and not vcpu.arch.runnable()", "False", (STEERING,)),
    Mutant("a step goes on after power-off", STEP, "elif vcpu.powered_off:", "elif False:", (STEERING,)),
    Mutant("a step leaves the vCPU running", STEP, "vcpu.make_request(Request.SLEEP)  # its", "pass  # its", (STEERING,)),
    Mutant(
        "instructions are counted ever after a step",
        STEP,
        "count_instructions(self._counting)",
        "count_instructions(on=True)",
        (STEERING,),
    ),
    Mutant("a cancelled step goes on", STEP, "            self._left = 0\n", "", (STEERING,)),
    Mutant(
        "the end of a run leaves its step waiting",
        VCPU,
        "                self.step.end(StepEnd.OVER)\n",
        "                pass\n",
        (STEERING,),
    ),
    Mutant(
        "registers of a running vCPU are read",
        "avmm/steering.py",
        "if self._vm.lifecycle.state in (State.RUNNING, State.RESET):",
        "if False:",
        (STEERING,),
    ),
]
