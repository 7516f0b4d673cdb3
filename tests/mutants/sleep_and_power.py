"""Mutants of sleeping, waking and power."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import DEKKER, ENTRY, HALT, KICKS, PAUSING, POWER, RULES, SLEEP, VCPU

STAY = RULES + "test_stay.py"
NUMBERS = "avmm/vcpu/requests.py"


MUTANTS = [
    # Staying on the slot's thread between entries.
    Mutant(
        "a stay does not look again behind the kicks it forgets",
        VCPU,
        "                if not self._wanted_elsewhere():\n                    return True\n",
        "                return True\n",
        (STAY,),
    ),
    Mutant(
        "a sleeper on the thread is not told that it is recalled",
        HALT,
        "        if vcpu.recalled:\n            return True\n",
        "",
        (STAY,),
    ),
    Mutant(
        "a pin is driven whatever the mode",
        ENTRY,
        "            if self.mode is not VcpuMode.IN_GUEST_MODE:\n                return False\n            act()\n",
        "            act()\n",
        (STAY,),
    ),
    # Sleeping.
    Mutant(
        "the sleeper looks before it is on the queue, and not again",
        HALT,
        "                if over():\n                    break\n",
        "",
        (DEKKER, SLEEP),
    ),
    Mutant(
        "a woken sleeper does not look again",
        HALT,
        "            if over():\n                break\n            stats.spurious_wakeups += 1\n",
        "            break\n",
        (KICKS, SLEEP),
    ),
    Mutant(
        "UNHALT is left standing",
        VCPU,
        "                if self.check_request(UNHALT):\n",
        "                if False:\n",
        (SLEEP,),
    ),
    Mutant("UNHALT is not made", HALT, "            vcpu.make_request(UNHALT)\n", "", (SLEEP,)),
    Mutant(
        "UNHALT is made whatever ends the block",
        HALT,
        "        if self.runnable():\n            vcpu.make_request(UNHALT)\n",
        "        vcpu.make_request(UNHALT)\n        if self.runnable():\n",
        (SLEEP,),
    ),
    Mutant("a paused vCPU is runnable", HALT, " and not self._kept() and ", " and ", (SLEEP, POWER)),
    Mutant("a powered-off vCPU is runnable", HALT, "return not vcpu.powered_off and not", "return not", (SLEEP,)),
    # Power, pause, the end.
    Mutant(
        "a powered-off vCPU sleeps only once",
        VCPU,
        "            await self.sleep.while_off()\n",
        "            await self.sleep.block()\n",
        (POWER,),
    ),
    Mutant(
        "power_off forgets the kick",
        VCPU,
        "        self.make_request_and_kick(Request.SLEEP)\n",
        "        self.make_request(Request.SLEEP)\n",
        (POWER,),
    ),
    Mutant(
        "power_on forgets to wake",
        VCPU,
        "        self.powered_off = False\n        self.wake_up()\n",
        "        self.powered_off = False\n",
        (POWER,),
    ),
    Mutant(
        "VM_DEAD leaves sleepers asleep",
        NUMBERS,
        "    VM_DEAD = 4 | WAIT\n",
        "    VM_DEAD = 4 | WAIT | NO_WAKEUP\n",
        (POWER + "::test_the_end_of_the_vm_wakes_whoever_sleeps",),
    ),
    Mutant(
        "VM_DEAD does not end a pause",
        HALT,
        "self._wait_until(lambda: not (vcpu.powered_off or self._kept()) or",
        "self._wait_until(lambda: not (vcpu.powered_off or self._kept()) or False and",
        (POWER + "::test_the_end_of_the_vm_wakes_whoever_sleeps",),
    ),
    Mutant(
        "resume_guest forgets to wake",
        PAUSING,
        "                vcpu.paused = False\n                vcpu.wake_up()\n",
        "                vcpu.paused = False\n",
        (POWER,),
    ),
]
