"""Mutants of requests, kicks, acknowledgements and posted words."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import CANCELLATION, DEKKER, ENTRY, KICKS, RULES, VCPU, WORD

TABLE = RULES + "test_table.py"
WAIT = RULES + "test_wait.py"
REQUESTS = RULES + "test_requests.py"
POSTED = RULES + "test_posted.py"
MODE = RULES + "test_mode.py"
KICKER = "avmm/vcpu/kicker.py"
ACKS = "avmm/vcpu/acks.py"
POSTED_WORD = "avmm/vcpu/posted.py"
SCRIPTED = "avmm/testing/scripted_vcpu.py"

_SET_IN = """        with self.lock:
            self.mode = VcpuMode.IN_GUEST_MODE
"""
_TRACE_IN = """        if trace is not None:
            trace(Tracepoint.MODE_IN, 0)
"""
_LAST_LOOK = "        if self._requests or (self.posted is not None and self.posted.outstanding):\n"
_MAKE = """        if not request & NO_ACTION:
            vcpu.make_request(request)
"""
_ACT = """        if request & NO_WAKEUP or not vcpu.wake_up(kicked=True):
            _send_ipi_if_needed(vcpu, acks, wait=bool(request & WAIT))
"""

MUTANTS = [
    # Ensuring requests are seen.
    Mutant(
        "the vCPU looks at the requests before it sets the mode",
        ENTRY,
        _SET_IN + _TRACE_IN + _LAST_LOOK,
        "        pending = self._requests or (self.posted is not None and self.posted.outstanding)\n"
        + _SET_IN
        + _TRACE_IN
        + "        if pending:\n",
        (DEKKER, KICKS),
    ),
    Mutant("the requester looks at the mode before it sets the bit", KICKER, _MAKE + _ACT, _ACT + _MAKE, (DEKKER, KICKS)),
    Mutant("no last look at the requests", ENTRY, _LAST_LOOK, "        if False:\n", (DEKKER, KICKS)),
    Mutant("the last look forgets the posted word", ENTRY, _LAST_LOOK, "        if self._requests:\n", (DEKKER, POSTED)),
    Mutant(
        "kicks are dropped after the mode is set", ENTRY, _SET_IN, _SET_IN + "        self.engine.clear_kick()\n", (DEKKER, KICKS)
    ),
    Mutant(
        "kicks are dropped after the last look",
        ENTRY,
        "        if trace is not None:\n            trace(Tracepoint.AFTER_LAST_CHECK, 0)\n",
        "        self.engine.clear_kick()\n        if trace is not None:\n            trace(Tracepoint.AFTER_LAST_CHECK, 0)\n",
        (DEKKER,),
    ),
    Mutant("kicks from before the entry are not dropped", ENTRY, "        self.engine.clear_kick()\n", "", (KICKS,)),
    Mutant("the mode is never set", ENTRY, _SET_IN, "", (DEKKER, TABLE)),
    Mutant(
        "make_request does nothing",
        WORD,
        "            self._requests |= bit\n",
        "",
        (REQUESTS + "::test_r03_test_request_leaves_the_bit",),
    ),
    Mutant(
        "make_request kicks",
        WORD,
        "        with self.lock:\n            self._requests |= bit\n",
        "        self.engine.kick()\n        with self.lock:\n            self._requests |= bit\n",
        (REQUESTS,),
    ),
    Mutant(
        "check_request forgets to clear",
        WORD,
        "        if not self._requests & bit:\n            return False\n"
        "        with self.lock:\n            self._requests &= ~bit\n",
        "        if not self._requests & bit:\n            return False\n",
        (REQUESTS,),
    ),
    Mutant(
        "clear_request clears everything",
        WORD,
        "            self._requests &= ~request_bit(request)\n",
        "            self._requests = 0\n",
        (REQUESTS,),
    ),
    Mutant(
        "an unhandled request is not named",
        VCPU,
        "        if unhandled := self._requests & ~self._handled & ~_LOOP_HANDLES:\n",
        "        if unhandled := 0:\n",
        (KICKS,),
    ),
    Mutant(
        "an entry given up keeps the loop from others",
        VCPU,
        "                await asyncio.sleep(0)  # cond_resched()",
        "                pass  # cond_resched()",
        (KICKS,),
    ),
    Mutant(
        "an entry given up leaves the mode",
        ENTRY,
        "            self._now_outside()\n            self.stats.aborted_entries += 1\n",
        "            self.stats.aborted_entries += 1\n",
        (MODE, WAIT),
    ),
    # Kicks.
    Mutant("NO_WAKEUP is ignored", KICKER, "if request & NO_WAKEUP or not vcpu", "if not vcpu", (TABLE,)),
    Mutant("nobody is woken", KICKER, "if request & NO_WAKEUP or not vcpu.wake_up(kicked=True):", "if True:", (TABLE,)),
    Mutant(
        "a woken vCPU is sent an IPI too",
        KICKER,
        "        if request & NO_WAKEUP or not vcpu.wake_up(kicked=True):\n            _send",
        "        if not request & NO_WAKEUP:\n            vcpu.wake_up(kicked=True)\n        if True:\n            _send",
        (TABLE,),
    ),
    Mutant("a bare kick does not wake", KICKER, "    if vcpu.wake_up(kicked=True):\n", "    if False:\n", (TABLE,)),
    Mutant(
        "kicks are not coalesced",
        KICKER,
        "            vcpu.mode = VcpuMode.EXITING_GUEST_MODE\n",
        "",
        (TABLE, KICKS),
    ),
    Mutant(
        "any mode but OUTSIDE is sent an IPI, WAIT or not",
        KICKER,
        "        needs_ipi = mode is not VcpuMode.OUTSIDE_GUEST_MODE if wait else in_guest\n",
        "        needs_ipi = mode is not VcpuMode.OUTSIDE_GUEST_MODE\n",
        (TABLE,),
    ),
    Mutant("the IPI is counted and not sent", KICKER, "            vcpu.engine.kick()\n", "            pass\n", (DEKKER, KICKS)),
    Mutant(
        "the IPI is sent after the lock is given up",
        KICKER,
        "        if needs_ipi and mode is not VcpuMode.READING_SHADOW_PAGE_TABLES:\n            vcpu.engine.kick()\n",
        "    if needs_ipi and mode is not VcpuMode.READING_SHADOW_PAGE_TABLES:\n        vcpu.engine.kick()\n",
        (DEKKER,),
    ),
    Mutant(
        "a vCPU's own request does not end its entry",
        KICKER,
        "        if needs_ipi and mode is not",
        "        if needs_ipi and not own and mode is not",
        (KICKS,),
    ),
    Mutant("a vCPU sends itself an IPI", KICKER, "    own = vcpu.in_guest_thread()\n", "    own = False\n", (KICKS,)),
    Mutant(
        "a bare kick asks for no IPI",
        KICKER,
        "    return _send_ipi_if_needed(vcpu, Acknowledgements(), wait=False)\n",
        "    return KickAction.NOTHING\n",
        (TABLE, POSTED),
    ),
    # Waiting for acknowledgements.
    Mutant("WAIT is ignored", KICKER, "wait=bool(request & WAIT)", "wait=False", (TABLE, WAIT)),
    Mutant(
        "WAIT is coalesced like the rest",
        KICKER,
        "        needs_ipi = mode is not VcpuMode.OUTSIDE_GUEST_MODE if wait else in_guest\n",
        "        needs_ipi = in_guest\n",
        (TABLE, WAIT),
    ),
    Mutant(
        "WAIT does not wait for a reader of page tables",
        KICKER,
        "        needs_ipi = mode is not VcpuMode.OUTSIDE_GUEST_MODE if wait else in_guest\n",
        "        needs_ipi = mode in (VcpuMode.IN_GUEST_MODE, VcpuMode.EXITING_GUEST_MODE) if wait else in_guest\n",
        (TABLE, MODE),
    ),
    Mutant(
        "a reader's own task waits for itself",
        KICKER,
        "            own = vcpu.in_own_thread()\n",
        "            pass\n",
        (KICKS,),
    ),
    Mutant(
        "the acknowledgement comes before the guest is out",
        ENTRY,
        "        try:\n            exit_ = self.engine.enter(budget)\n",
        "        try:\n            self._now_outside()\n            exit_ = self.engine.enter(budget)\n",
        (DEKKER, CANCELLATION),
    ),
    Mutant("nobody acknowledges", ENTRY, "            ack.acknowledge()\n", "            pass\n", (TABLE, WAIT)),
    Mutant(
        "the first acknowledgement is taken for all",
        ACKS,
        "            self._outstanding -= 1\n",
        "            self._outstanding = 0\n",
        (WAIT,),
    ),
    Mutant("true means a request was made", ACKS, "        return self.ipis > 0\n", "        return True\n", (TABLE,)),
    Mutant(
        "NO_ACTION is made pending",
        KICKER,
        "        if not request & NO_ACTION:\n            vcpu.make_request(request)\n",
        "        vcpu.make_request(request & ~NO_ACTION)\n",
        (WAIT,),
    ),
    # Posted words.
    Mutant(
        "the posted word is set after the kick",
        POSTED_WORD,
        "            self.outstanding = True\n"
        "        # ON is set before the mode is read. Pairs with the last look in GuestEntry._commit().\n"
        "        return kick(self._vcpu)\n",
        "        action = kick(self._vcpu)\n        self.outstanding = True\n        return action\n",
        (DEKKER, POSTED),
    ),
    Mutant(
        "the last look is at the posted word there was before the flush",
        ENTRY,
        _LAST_LOOK,
        "        if self._requests or (posted is not None and posted.outstanding):\n",
        (DEKKER,),
    ),
    Mutant(
        "a posted word that nobody takes is not named",
        ENTRY,
        "            if posted is not None and posted.takes == takes:\n",
        "            if False:\n",
        (POSTED,),
    ),
    Mutant("the posted word is never taken back", POSTED_WORD, "            self.outstanding = False\n", "", (POSTED,)),
    # The scripted engine.
    Mutant(
        "kicks are not sticky",
        SCRIPTED,
        "        with self._lock:\n            self._kicked = True\n            if self.spinning:\n",
        "        with self._lock:\n            self._kicked = self.spinning\n            if self.spinning:\n",
        (KICKS,),
    ),
]
