"""Mutants of slots: turns, cancelling, parallel vCPUs, virtual time, what is measured."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import ARM, ARM64, CANCELLATION, CORE, HALT, LIMITS, POWER, STEERING, VCPU, WORD

STAYS = CORE + "test_stay.py"
MEASURED = CORE + "test_measured.py"
BUILDER = "avmm/builder.py"
AFFINITY = "avmm/affinity.py"
SMP_MODE = CORE + "test_smp_mode.py"
AFFINITIES = CORE + "test_affinity.py"
SLOT = "avmm/slot.py"
IDLE = "avmm/idle.py"
CLOCKS = CORE + "test_clock.py"


MUTANTS = [
    # Slots.
    Mutant(
        "a cancelled entry does not wait for the guest to be out",
        SLOT,
        "            await self._put_out(vcpu)\n",
        "            vcpu.engine.kick()\n",
        (CANCELLATION,),
    ),
    Mutant(
        "a cancelled entry waits only once",
        SLOT,
        "            with suppress(asyncio.CancelledError):\n                await self._left\n",
        "            await self._left\n",
        (CANCELLATION,),
    ),
    Mutant(
        "a cancelled entry forgets the kick",
        SLOT,
        "            vcpu.engine.kick()\n            vcpu.wake_up()\n",
        "            vcpu.wake_up()\n",
        (CANCELLATION,),
    ),
    Mutant(
        "a cancelled entry that sleeps on the thread is not woken",
        SLOT,
        "            vcpu.engine.kick()\n            vcpu.wake_up()\n",
        "            vcpu.engine.kick()\n",
        (STAYS,),
    ),
    Mutant("a vCPU is recalled after the kick only", SLOT, "        vcpu.recalled = True\n", "", (STAYS,)),
    Mutant(
        "a vCPU sleeps on a slot that it shares",
        BUILDER,
        "alone=config.vcpus == count",
        "alone=True",
        (STAYS,),
    ),
    Mutant(
        "a vCPU with a limit stays",
        VCPU,
        "        if self.limit is not None or self.step is not None:\n            return True\n",
        "",
        (LIMITS, STEERING),
    ),
    Mutant(
        "the host timer of a sleeping vCPU goes on",
        ARM64 + "timer.py",
        "            self._disarm()\n            return self.next_ns\n",
        "            return self.next_ns\n",
        (ARM + "test_timer.py",),
    ),
    Mutant(
        "a vCPU that has slept has no host timer",
        ARM64 + "timer.py",
        "        with self._lock:\n            self.update()\n\n    def _arm",
        "        pass\n\n    def _arm",
        (ARM + "test_timer.py",),
    ),
    Mutant(
        "a cancelled waiter keeps its turn",
        SLOT,
        "                self.release(vcpu)  # our turn came together",
        "                pass  # our turn came together",
        (CORE + "test_slot.py",),
    ),
    Mutant(
        "a timer left by its predecessor puts a vCPU out",
        SLOT,
        "        if self._clock.now_ns() < due_ns:",
        "        if False:",
        (CORE + "test_slot.py",),
    ),
    Mutant(
        "a vCPU is charged for its predecessor's time",
        SLOT,
        "        self._entered_ns = self._clock.now_ns()  # until it enters",
        "        pass  # until it enters",
        (CORE + "test_slot.py",),
    ),
    Mutant(
        "a kick forgotten at the entry is not planned anew",
        SLOT,
        "        if self._waiters:\n            self._wanted(self._waiters[0][0])\n        os.eventfd_write",
        "        os.eventfd_write",
        (CORE + "test_slot.py",),
    ),
    # Virtual time.
    Mutant("virtual time jumps during a pause", IDLE, "vcpu.asleep and not vcpu.paused", "vcpu.asleep", (POWER,)),
    Mutant(
        "virtual time stops at a timer that wakes nobody",
        IDLE,
        "                self.sleeps()  # that timer",
        "                pass  # that timer",
        (CORE + "test_idle.py",),
    ),
    Mutant("virtual time jumps while a vCPU runs", IDLE, "all(vcpu.asleep and", "any(vcpu.asleep and", (CORE + "test_idle.py",)),
    # What is measured.
    Mutant(
        "a request is timed from its last making",
        WORD,
        "self._made_ns.setdefault(bit, self.clock.now_ns())",
        "self._made_ns[bit] = self.clock.now_ns()",
        (MEASURED,),
    ),
    Mutant("every request is timed", WORD, "                self._to_time &= ~bit\n", "                pass\n", (MEASURED,)),
    Mutant(
        "the time asleep is an exit's handling",
        HALT,
        "                    stats.exited_ns += asleep_ns\n",
        "                    pass\n",
        (MEASURED,),
    ),
    # vCPUs in parallel.
    Mutant("turns have a slot each", BUILDER, '1 if config.smp_mode == "turns" else min(', "min(", (SMP_MODE,)),
    Mutant(
        "an engine that cannot run vCPUs in parallel passes",
        BUILDER,
        'config.smp_mode == "parallel" and engine.max_in_guest == 1',
        "False",
        (SMP_MODE,),
    ),
    Mutant(
        "parallel vCPUs share one thread",
        BUILDER,
        'if config.smp_mode == "parallel" and config.slot',
        "if False and config.slot",
        (SMP_MODE,),
    ),
    Mutant(
        "what the engine's own IPIs came to is not counted",
        WORD,
        "            stats.ipis_acknowledged += ipis\n",
        "",
        (SMP_MODE,),
    ),
    Mutant(
        "a crowded core is not let go of", AFFINITY, "if self._sharing and waited_ns >", "if False and waited_ns >", (AFFINITIES,)
    ),
    Mutant(
        "threads that need two cores share one again",
        AFFINITY,
        "elif not self._sharing and ran_ns >",
        "elif False and ran_ns >",
        (AFFINITIES,),
    ),
    Mutant("idle vCPUs are looked at as often as busy ones", AFFINITY, " and ran_ns >= look_ns * IDLE", "", (AFFINITIES,)),
    Mutant("a crowded core is tried again at once", AFFINITY, "elif now_ns >= self._free_until_ns:", "else:", (AFFINITIES,)),
    Mutant(
        "what is made while a VM shares a core knows no other",
        AFFINITY,
        "    return os.sched_getaffinity(0) if shared is None else set(shared.allowed)\n",
        "    return os.sched_getaffinity(0)\n",
        (AFFINITIES,),
    ),
    Mutant(
        "each VM places the thread of the loop",
        AFFINITY,
        "    shared = _shared.get(loop_thread)\n    if",
        "    shared = None\n    if",
        (AFFINITIES,),
    ),
    Mutant(
        "a VM that goes takes the loop away from the others",
        AFFINITY,
        "[*threads()] if self._slots else [self._loop_thread, *threads()]",
        "[self._loop_thread, *threads()]",
        (AFFINITIES,),
    ),
    Mutant(
        "the slots of a VM that goes stay confined",
        AFFINITY,
        "            self._place(self.allowed, leaving)\n",
        "            self._place(self.allowed, [] if self._slots else leaving)\n",
        (AFFINITIES,),
    ),
    Mutant(
        "only the first VM's slots are looked at",
        AFFINITY,
        "for slots in self._slots for thread",
        "for slots in self._slots[:1] for thread",
        (AFFINITIES,),
    ),
    Mutant(
        "a core is shared after the last VM",
        AFFINITY,
        "            del _shared[loop_thread]\n",
        "            pass\n",
        (AFFINITIES,),
    ),
    Mutant("a timer that is cancelled rings", "avmm/clock.py", "        self.callback = None\n", "        pass\n", (CLOCKS,)),
    Mutant("cancelled timers pile up", "avmm/clock.py", "if len(self._heap) >= self._purge_at:", "if False:", (CLOCKS,)),
    Mutant(
        "a timer rings at the end of the step",
        "avmm/clock.py",
        "self._now_ns = max(self._now_ns, due_ns)",
        "self._now_ns = max(self._now_ns, end_ns)",
        (CLOCKS,),
    ),
    Mutant(
        "timers of one time ring in any order",
        "avmm/clock.py",
        "(self.when_ns, self.order) < (other.when_ns, other.order)",
        "(self.when_ns, -self.order) < (other.when_ns, -other.order)",
        (CLOCKS,),
    ),
]
