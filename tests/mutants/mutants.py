"""Mistakes one could make with the rules, each as a small change of the source, with the tests that are to notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RULES = "tests/rules/"
DEKKER, TABLE, KICKS = RULES + "test_dekker.py", RULES + "test_table.py", RULES + "test_kicks.py"
WAIT, SLEEP, POWER = RULES + "test_wait.py", RULES + "test_sleep.py", RULES + "test_power.py"
REQUESTS, POSTED, MODE = RULES + "test_requests.py", RULES + "test_posted.py", RULES + "test_mode.py"
CANCELLATION = RULES + "test_cancellation.py"
CORE, ARM, FUZZ = "tests/unit/core/", "tests/unit/arm64/", "tests/fuzz/test_machine.py"
LOGS = CORE + "test_log.py"
STAY, STAYS = RULES + "test_stay.py", CORE + "test_stay.py"
ARM64 = "arch/avmm_arm64/"
BEHAVIOUR, HANDLES = "tests/replay/test_behaviour.py", "tests/replay/test_handles.py"
QUEUE, VM_AND_GIC = "tests/replay/test_gic_queue.py", "tests/replay/test_vm_and_gic.py"
MODEL, ATTRIBUTES, PMU_ATTRIBUTES = "tests/replay/test_model.py", RULES + "test_attributes.py", ARM64 + "pmu_attributes.py"
MEASURED, ROM = CORE + "test_measured.py", CORE + "test_rom.py"
FLASHED, FW_CFGS = "tests/unit/firmware/test_flash.py", "tests/unit/firmware/test_fw_cfg.py"

ENTRIES, REGISTRY = "avmm/entry_points.py", "tests/unit/test_registry.py"
CONFIG, CHECKS = "tests/unit/test_config.py", "avmm/config_checks.py"
WORD, ENTRY = "avmm/vcpu/word.py", "avmm/vcpu/guest_entry.py"
VCPU, KICKER, HALT = "avmm/vcpu/vcpu.py", "avmm/vcpu/kicker.py", "avmm/vcpu/halt.py"
BUILDER, AFFINITY = "avmm/builder.py", "avmm/affinity.py"
SMP_MODE, AFFINITIES = CORE + "test_smp_mode.py", CORE + "test_affinity.py"
ACKS, POSTED_WORD, NUMBERS = "avmm/vcpu/acks.py", "avmm/vcpu/posted.py", "avmm/vcpu/requests.py"
FLASH, FW_CFG = "plugins/avmm_firmware/flash.py", "plugins/avmm_firmware/fw_cfg"
BLK, DISK = "tests/unit/virtio/block/", "plugins/avmm_virtio/block/"
UI, PAGES = "plugins/avmm_control/ui/", "tests/unit/ui/"
VIRTIO, CLAUSES_OF_VIRTIO = "plugins/avmm_virtio/", "tests/unit/virtio/test_clauses.py"
PORTS, CONSOLE = "tests/unit/virtio/console/test_console.py", VIRTIO + "console/"
STREAMS, VSOCK = "tests/unit/virtio/vsock/test_vsock.py", VIRTIO + "vsock/"
CREDIT = "tests/unit/virtio/vsock/test_credit.py"
LENT, RANDOM = "tests/unit/virtio/test_balloon.py", "tests/unit/virtio/test_entropy.py"
OPTIONS_OF, OPTIONS = CORE + "test_option_table.py", "avmm/option_table.py"
LIMITS, LIMIT = CORE + "test_limit.py", "avmm/vcpu/limit.py"
STEERING, STEP = CORE + "test_steering.py", "avmm/vcpu/step.py"
CONTROL, GUARD, SOCKETS = "tests/unit/control/", "plugins/avmm_control/guard.py", "plugins/avmm_control/sockets.py"
SLOT, IDLE, SCRIPTED = "avmm/slot.py", "avmm/idle.py", "avmm/testing/scripted.py"
RUN, PAUSING = "avmm/run.py", "avmm/pausing.py"
UNICORN = "plugins/avmm_unicorn/native/"
REUSED, REUSE, TRANSLATIONS = "tests/unit/unicorn/test_reuse.py", UNICORN + "reuse.c", UNICORN + "translations.c"
HOST_CODE = UNICORN + "hostcode.c"


@dataclass(frozen=True)
class Mutant:
    """`old` in `file` becomes `new`; one of `tests` must fail for it."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return self.name

    def apply(self, source: str) -> str:
        """`source` with the change; ValueError unless `old` is there exactly once."""
        if source.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.file} has its text {source.count(self.old)} times, not once")
        return source.replace(self.old, self.new)

    def mutated(self, root: Path = ROOT) -> str:
        """The changed source of the tree at `root`."""
        return self.apply((root / self.file).read_text())


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
_ENQUEUE = """            waiter = queue.prepare(here=here)
"""

MUTANTS = [
    # Other virtio devices.
    Mutant(
        "buffers are used before DRIVER_OK",
        VIRTIO + "virtqueue.py",
        "        if not self._host.may_serve:\n",
        "        if False:\n",
        (CLAUSES_OF_VIRTIO,),
    ),
    Mutant(
        "a used ring's flags are what the driver left there",
        VIRTIO + "queue.py",
        "        _U16.pack_into(self._used, self._used_at, 0)  #",
        "        pass  #",
        (CLAUSES_OF_VIRTIO,),
    ),
    Mutant(
        "a console that drops nothing makes its guest spin",
        CONSOLE + "port.py",
        "        if self._unsent and self.hvc:\n",
        "        if False:\n",
        (PORTS,),
    ),
    Mutant(
        "a plain port drops what a slow host does not take",
        CONSOLE + "port.py",
        "        if self._unsent and self.hvc:\n",
        "        if self._unsent:\n",
        (PORTS,),
    ),
    Mutant(
        "a port that the guest has closed is written to",
        CONSOLE + "device.py",
        " and (port.guest_open or not self.several)",
        "",
        (PORTS,),
    ),
    Mutant(
        "messages for a driver that takes none pile up",
        CONSOLE + "device.py",
        "        self._messages = deque(other for other in self._messages if not same_kind(other, what))\n",
        "",
        (PORTS,),
    ),
    Mutant(
        "a driver is told of the end of a port it never heard of",
        CONSOLE + "device.py",
        "        if not unheard:\n",
        "        if True:\n",
        (PORTS,),
    ),
    Mutant(
        "a chain in pieces outlives its queue's reset",
        CONSOLE + "port.py",
        """        \"\"\"The driver has gone, and knows of no port any more.\"\"\"
        self._chain = None
""",
        """        \"\"\"The driver has gone, and knows of no port any more.\"\"\"
""",
        (PORTS,),
    ),
    Mutant(
        "data goes beyond the guest's credit",
        VSOCK + "connection.py",
        "size = min(room, len(self._data), self._free)",
        "size = min(room, len(self._data))",
        (CREDIT,),
    ),
    Mutant(
        "credit is asked for again and again",
        VSOCK + "connection.py",
        "        if self._free:\n            self._credit_asked = False\n",
        "        self._credit_asked = False\n",
        (CREDIT,),
    ),
    Mutant(
        "a guest may send beyond its credit",
        VSOCK + "connection.py",
        "        if self._rx_cnt + len(data) - self._fwd_cnt > BUF_ALLOC:\n",
        "        if False:\n",
        (CREDIT,),
    ),
    Mutant(
        "a guest is not told of credit",
        VSOCK + "connection.py",
        "            self._credit_owed = True\n            self._device.serve(self)\n",
        "            pass\n",
        (CREDIT,),
    ),
    Mutant(
        "a host that is ahead is read on",
        VSOCK + "connection.py",
        "wanted=len(self._data) < HELD",
        "wanted=True",
        (CREDIT,),
    ),
    Mutant(
        "RST is answered with RST", VSOCK + "device.py", "        if header.op != Op.RST:\n", "        if True:\n", (STREAMS,)
    ),
    Mutant(
        "answers to a guest that takes none pile up",
        VSOCK + "device.py",
        "min(_BATCH_PACKETS, _RESETS - len(self._resets))",
        "_BATCH_PACKETS",
        (STREAMS,),
    ),
    Mutant(
        "a guest may speak in another's name",
        VSOCK + "device.py",
        " or header.src_cid != self.cid",
        "",
        (STREAMS,),
    ),
    Mutant(
        "firmware is given back to the host",
        "avmm/memory.py",
        "        if slot.read_only:\n            raise ValueError",
        "        if False:\n            raise ValueError",
        (LENT,),
    ),
    Mutant(
        "half a page is given back to the host",
        "avmm/memory.py",
        "        start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE\n",
        "        start = start // mmap.PAGESIZE * mmap.PAGESIZE\n",
        (LENT,),
    ),
    Mutant(
        "a balloon's driver is not asked for a second time",
        VIRTIO + "balloon.py",
        "        for chain in queue.chains():\n            if self._asked",
        "        if (chain := queue.pop()) is not None:\n            if self._asked",
        (LENT,),
    ),
    Mutant(
        "random bytes are not limited",
        VIRTIO + "entropy.py",
        "            if missing_ns > 0:\n",
        "            if False:\n",
        (RANDOM,),
    ),
    Mutant("the host's random bytes are waited for", VIRTIO + "entropy.py", "os.GRND_NONBLOCK", "0", (RANDOM,)),
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
    # Posted words.
    Mutant(
        "the posted word is set after the kick",
        POSTED_WORD,
        "            self.outstanding = True\n"
        "        # ON is set before the mode is read. Pairs with the last check in Vcpu._enter().\n"
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
    # Memory that is a device.
    Mutant(
        "the other vCPUs do not hear that reads trap now",
        "avmm/builder.py",
        "[vcpu for vcpu in vcpus if not vcpu.in_guest_thread()], Request.TLB_FLUSH",
        "[], Request.TLB_FLUSH",
        (ROM,),
    ),
    Mutant("a change of a ROM's reads that is none is told", "avmm/rom.py", "if on is not self._direct:", "if True:", (ROM,)),
    Mutant("a device is never closed", "avmm/builder.py", "    undo.callback(device.close)\n", "", (ROM,)),
    Mutant("programming sets bits", FLASH, "bytes(old & byte for old, byte", "bytes(byte for _, byte", (FLASHED,)),
    Mutant(
        "flash has what its file has not",
        FLASH,
        "            self._status |= error\n            return False\n",
        "            self._status |= error\n",
        (FLASHED,),
    ),
    Mutant("a buffer leaves its window", FLASH, "        if offset // _WINDOW != window or ", "        if ", (FLASHED,)),
    Mutant(
        "an unknown command hides the array",
        FLASH,
        "self.rejected += 1\n                self._show(Reads.ARRAY)",
        "self.rejected += 1\n                self._show(Reads.STATUS)",
        (FLASHED,),
    ),
    Mutant(
        "fw_cfg writes to read-only memory",
        FW_CFG + "_device.py",
        "if slot is None or slot.read_only:",
        "if slot is None:",
        (FW_CFGS,),
    ),
    Mutant(
        "fw_cfg writes zeros for ever",
        FW_CFG + ".py",
        "            if length > len(self._item) - self._position + MOST_ZEROS:\n                return False\n",
        "",
        (FW_CFGS,),
    ),
    # Disks.
    Mutant(
        "a flush is completed before it is done",
        DISK + "file.py",
        "                    os.fdatasync(self._fd)\n",
        "                    pass\n",
        (BLK + "test_file.py",),
    ),
    Mutant("a write without cache is cached", DISK + "file.py", "flags = os.RWF_DSYNC", "flags = 0", (BLK + "test_file.py",)),
    Mutant(
        "a reset leaves a transfer under way",
        DISK + "workers.py",
        "            self._left.wait_for(lambda: not any(request.queue is queue for request in self._touching))\n",
        "",
        (BLK + "test_file.py",),
    ),
    Mutant(
        "a request may end beyond the disk",
        DISK + "request.py",
        " or request.offset + size > disk.capacity",
        "",
        (BLK + "test_device.py",),
    ),
    Mutant(
        "a range may end beyond the disk",
        DISK + "request.py",
        " or (sector + sectors) * SECTOR > disk.capacity",
        "",
        (BLK + "test_device.py",),
    ),
    Mutant(
        "a disk that is only read is written",
        DISK + "request.py",
        "    if disk.read_only:",
        "    if False:",
        (BLK + "test_device.py",),
    ),
    Mutant(
        "a pause does not wait for requests",
        DISK + "device.py",
        "        while under_way:",
        "        while False:",
        (BLK + "test_device.py",),
    ),
    Mutant(
        "a driver that cannot flush has a cache",
        DISK + "device.py",
        "            self._cached = False  # a driver",
        "            pass  # a driver",
        (BLK + "test_device.py",),
    ),
    Mutant(
        "a flush speaks for writes that a server took with it",
        VIRTIO + "nbd/blockdev.py",
        "            request.error = errno.EIO\n",
        "            pass\n",
        ("tests/unit/virtio/nbd/test_servers.py",),
    ),
    Mutant(
        "a part of a read may lie anywhere",
        VIRTIO + "nbd/connection.py",
        "        if at < 0 or at + size > order.size or order.came + size > order.size:",
        "        if False:",
        ("tests/unit/virtio/nbd/test_misbehaving.py",),
    ),
    Mutant(
        "a frame overtakes those that wait",
        VIRTIO + "net.py",
        "self._netdev.sends_at_once and not self._unsent and",
        "self._netdev.sends_at_once and",
        ("tests/unit/virtio/net/test_net.py",),
    ),
    Mutant(
        "a frame is sent into the middle of another",
        VIRTIO + "frame_sender.py",
        "self._fd < 0 or self._tail or",
        "self._fd < 0 or",
        ("tests/unit/virtio/net/test_stream.py",),
    ),
    Mutant(
        "a frame overtakes what the transport holds",
        VIRTIO + "frame_sender.py",
        " or self._transport.get_write_buffer_size():",
        ":",
        ("tests/unit/virtio/net/test_stream.py",),
    ),
    Mutant(
        "a server that hangs is waited for",
        VIRTIO + "nbd/blockdev.py",
        "            if owed and connection.answers == answers:",
        "            if False:",
        ("tests/unit/virtio/nbd/test_misbehaving.py",),
    ),
    Mutant(
        "a server that is slow is one that hangs",
        VIRTIO + "nbd/connection.py",
        "        self.answers += 1\n",
        "        pass\n",
        ("tests/unit/virtio/nbd/test_misbehaving.py",),
    ),
    Mutant(
        "the event loop writes to a disk",
        DISK + "file.py",
        "            and threading.get_ident() != self._loop_thread\n",
        "",
        (BLK + "test_here.py",),
    ),
    Mutant(
        "a vCPU writes to a disk that is slow",
        DISK + "workers.py",
        "            and self._now_ns() >= self._away_until_ns\n",
        "",
        (BLK + "test_here.py",),
    ),
    Mutant(
        "a disk is written with the device lock held",
        "avmm/bus.py",
        "        try:\n            after()\n",
        "        try:\n            with self._lock:\n                after()\n",
        (BLK + "test_here.py",),
    ),
    Mutant(
        "a write runs into what is under way",
        DISK + "workers.py",
        "            and len(self._idle) == len(self._threads)\n",
        "",
        (BLK + "test_here.py",),
    ),
    Mutant(
        "a reset does not drop what a vCPU has left to write",
        DISK + "workers.py",
        "(*self._waiting, *self._left_here) if",
        "(*self._waiting,) if",
        (BLK + "test_here.py",),
    ),
    Mutant(
        "images are not locked",
        DISK + "lock.py",
        "                raise ImageInUse",
        "                pass",
        (BLK + "test_image.py",),
    ),
    # The arm64 machine.
    Mutant(
        "an SGI tells nobody",
        ARM64 + "gic/gicv3.py",
        "        bank.latch |= bit\n        redistributor.interface.update()\n",
        "        bank.latch |= bit\n",
        (FUZZ,),
    ),
    Mutant(
        "a fast interrupt kicks nobody",
        ARM64 + "vcpu.py",
        "        elif irq or fiq:\n",
        "        elif irq:\n",
        (ARM + "test_arch.py",),
    ),
    Mutant(
        "a fast interrupt is not taken back",
        ARM64 + "vcpu.py",
        "        if told is None or fiq is not told[1]:\n",
        "        if fiq:\n",
        (ARM + "test_arch.py",),
    ),
    Mutant("a halt in a trap is no halt", ENTRY, "                exit_ = HALTED\n", "                pass\n", (SLEEP,)),
    # The PMU, the timers and PSCI.
    Mutant(
        "P resets the cycle counter too",
        ARM64 + "pmu.py",
        "            self._values[: self.counters] = [0] * self.counters\n",
        "            self._values[:] = [0] * 32\n",
        (ARM + "test_pmu.py",),
    ),
    Mutant(
        "SW_INCR counts with the PMU off",
        ARM64 + "pmu.py",
        "        if self._pmcr & E:\n            for index in",
        "        if True:\n            for index in",
        (ARM + "test_pmu.py",),
    ),
    Mutant(
        "LC is for event counters and LP for the cycle counter",
        ARM64 + "pmu_counters.py",
        "LC if index == CYCLE_COUNTER else LP",
        "LP if index == CYCLE_COUNTER else LC",
        (ARM + "test_pmu.py",),
    ),
    Mutant(
        "a chain does without its odd half enabled",
        ARM64 + "pmu_counters.py",
        "            and bool(self._enabled >> odd & 1)\n",
        "",
        (ARM + "test_pmu.py",),
    ),
    Mutant(
        "a chain counts 64-bit overflows",
        ARM64 + "pmu_counters.py",
        "if not wide and self._chained(index):",
        "if self._chained(index):",
        (ARM + "test_pmu.py",),
    ),
    Mutant(
        "an overflow interrupts with the PMU off",
        ARM64 + "pmu_counters.py",
        "return bool(self._pmcr & E and self._overflowed & self._interrupting)",
        "return bool(self._overflowed & self._interrupting)",
        (ARM + "test_pmu_interrupt.py",),
    ),
    Mutant(
        "only an enabled counter's overflow interrupts",
        ARM64 + "pmu_counters.py",
        "return bool(self._pmcr & E and self._overflowed & self._interrupting)",
        "return bool(self._pmcr & E and self._overflowed & self._interrupting & self._enabled)",
        (ARM + "test_pmu_interrupt.py",),
    ),
    Mutant(
        "the filters of EL0 and EL1 are each other's",
        ARM64 + "pmu_counters.py",
        "(0 if type_ & TYPE_U else _EL0) | (0 if type_ & TYPE_P else _EL1)",
        "(0 if type_ & TYPE_P else _EL0) | (0 if type_ & TYPE_U else _EL1)",
        (ARM + "test_pmu.py",),
    ),
    Mutant("a denied event counts", ARM64 + "pmu_counters.py", " or not self._rules.allow(event):", ":", (ARM + "test_pmu.py",)),
    Mutant(
        "a write to a counter leaves the distance to its overflow",
        ARM64 + "pmu.py",
        "        self._values[index] = value & self._value_mask(index)\n        self._program()\n",
        "        self._values[index] = value & self._value_mask(index)\n",
        (ARM + "test_pmu_interrupt.py",),
    ),
    Mutant(
        "ISTATUS needs ENABLE",
        ARM64 + "timer.py",
        "_ISTATUS * (self._cval <= self._counter.count())",
        "_ISTATUS * (bool(self._control & _ENABLE) and self._cval <= self._counter.count())",
        (ARM + "test_timer.py",),
    ),
    Mutant(
        "IMASK masks nothing",
        ARM64 + "timer.py",
        "armed = self._control & (_ENABLE | _IMASK) == _ENABLE",
        "armed = bool(self._control & _ENABLE)",
        (ARM + "test_timer.py",),
    ),
    Mutant(
        "TVAL is not signed",
        ARM64 + "timer.py",
        "signed = (value & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31)",
        "signed = value & 0xFFFF_FFFF",
        (ARM + "test_timer.py",),
    ),
    Mutant(
        "TVAL reads 64 bits",
        ARM64 + "timer.py",
        "return self._cval - self._counter.count() & 0xFFFF_FFFF",
        "return self._cval - self._counter.count() & _U64",
        (ARM + "test_timer.py",),
    ),
    Mutant(
        "a reset moves CVAL",
        ARM64 + "timer.py",
        "        self._control = 0\n        self.recompute()\n",
        "        self._control = self._cval = 0\n        self.recompute()\n",
        (ARM + "test_timer.py",),
    ),
    Mutant(
        "CPU_ON starts who is on",
        ARM64 + "psci.py",
        "                if not cpu.is_off:\n                    return Result.ALREADY_ON\n",
        "",
        (ARM + "test_psci.py",),
    ),
    Mutant(
        "a 32-bit call takes 64 bits",
        ARM64 + "psci.py",
        "        if not function & _SMC64:\n",
        "        if False:\n",
        (ARM + "test_psci.py",),
    ),
    Mutant(
        "AFFINITY_INFO knows one level",
        ARM64 + "psci.py",
        "mask = AFFINITY_MASK & ~((1 << _AFFINITY_SHIFTS[level]) - 1)",
        "mask = AFFINITY_MASK",
        (ARM + "test_psci.py",),
    ),
    # Device attributes.
    Mutant(
        "a PMU's second interrupt is compared with the others' first",
        PMU_ATTRIBUTES,
        "        if self.vcpus[vcpu].irq is not None:\n            raise OperationRefused(EBUSY",
        "        if False:\n            raise OperationRefused(EBUSY",
        (ATTRIBUTES,),
    ),
    Mutant(
        "a shared interrupt goes with a private one",
        PMU_ATTRIBUTES,
        "else is_spi(other) and new != other",
        "else new != other",
        (ATTRIBUTES,),
    ),
    Mutant(
        "a PMU starts before its interrupt controller",
        PMU_ATTRIBUTES,
        "            if not self._irqchip.initialized:\n",
        "            if False:\n",
        (ATTRIBUTES,),
    ),
    Mutant("a PMU starts twice", PMU_ATTRIBUTES, "        if state.created:\n", "        if False:\n", (ATTRIBUTES,)),
    Mutant(
        "timers are set for one vCPU alone",
        ARM64 + "attributes.py",
        "        for ppis in self.vcpus:\n",
        "        for ppis in self.vcpus[:1]:\n",
        (ATTRIBUTES,),
    ),
    Mutant(
        "timers can be set behind the first run",
        ARM64 + "attributes.py",
        "        self.immutable = True\n",
        "        pass\n",
        (ATTRIBUTES,),
    ),
    Mutant(
        "a timer's interrupt may have two owners",
        ARM64 + "interrupt_claims.py",
        "if self._owners.setdefault(key, who) != who:",
        "if False:",
        (ATTRIBUTES,),
    ),
    Mutant(
        "a vCPU runs with its PMU not started",
        PMU_ATTRIBUTES,
        "        if not state.created:\n            raise OperationRefused(EINVAL",
        "        if False:\n            raise OperationRefused(EINVAL",
        ("tests/replay/test_order_of_errors.py",),
    ),
    Mutant(
        "the PMU is looked at before the timers",
        ARM64 + "kvm_machine.py",
        "        self.attributes.timers.check(index)\n        self.attributes.pmu.check(index)\n",
        "        self.attributes.pmu.check(index)\n        self.attributes.timers.check(index)\n",
        (MODEL,),
    ),
    # KVM's answers.
    Mutant(
        "a vCPU's affinity goes by its place",
        ARM64 + "kvm_handle.py",
        "affinity(self.id)",
        "affinity(self.vcpu.index)",
        (HANDLES,),
    ),
    Mutant(
        "an initialisation keeps the pins", ARM64 + "kvm_machine.py", "handle.release_pins()", "handle.show_pins()", (BEHAVIOUR,)
    ),
    Mutant(
        "a load that userspace completes finds nothing",
        ARM64 + "kvm_vcpu.py",
        "return self.mmio_data & (1 << 8 * width) - 1",
        "return 0",
        (BEHAVIOUR,),
    ),
    Mutant(
        "operations do not wait for a vCPU's run",
        ARM64 + "kvm_transcript.py",
        "if signature.waits and",
        "if False and",
        (HANDLES,),
    ),
    Mutant(
        "CPU_SUSPEND is counted as WFI",
        ARM64 + "kvm_vcpu_operations.py",
        " - handle.waits_of_firmware",
        "",
        (HANDLES,),
    ),
    Mutant(
        "switching the distributor on delivers what was pending",
        ARM64 + "kvm_gic_queue.py",
        "                overlooked.overlook()\n",
        "                pass\n",
        (QUEUE,),
    ),
    Mutant(
        "a wire driven to the level it has is a change",
        ARM64 + "kvm_gic_queue.py",
        "if level and overlooked.level & bit:",
        "if False:",
        (QUEUE,),
    ),
    Mutant(
        "enabling an overlooked interrupt leaves it so",
        ARM64 + "kvm_gic_queue.py",
        "case 0x100 | 0x200 | 0x300:",
        "case 0x200 | 0x300:",
        (QUEUE,),
    ),
    Mutant(
        "a reset of a vCPU resets KVM's CPU interface",
        ARM64 + "kvm_gic_queue.py",
        'alone."""\n\n    def reset(self)',
        'alone."""\n\n    def set_back(self)',
        (QUEUE,),
    ),
    Mutant(
        "an access that userspace gave up is forgotten",
        ARM64 + "kvm_handle.py",
        "or self.parts is None:\n            return True\n        pc,",
        "or self.parts is None:\n            self.pending_pc = None\n            return True\n        pc,",
        (BEHAVIOUR,),
    ),
    Mutant(
        "an overlooked SGI comes twice",
        ARM64 + "kvm_gic_queue.py",
        "            overlooked.latch &= ~overlooked.bank.latch\n",
        "            pass\n",
        (QUEUE,),
    ),
    Mutant(
        "redistributors may end beyond the address space",
        ARM64 + "kvm_gic_places.py",
        "_check_place(address, vcpus * FRAME_SIZE)",
        "_check_place(address, 0)",
        (VM_AND_GIC,),
    ),
    Mutant(
        "CPU_SUSPEND returns at once", ARM64 + "psci.py", "        caller.suspend()\n", "        pass\n", (ARM + "test_psci.py",)
    ),
    Mutant(
        "EL0 needs the same to read as to write",
        ARM64 + "pmu_registers.py",
        "pmu.userenr & (read if is_read else write)",
        "pmu.userenr & (read | write)",
        (ARM + "test_pmu_registers.py",),
    ),
    Mutant(
        "any VM can be resumed",
        PAUSING,
        "        self._vm.lifecycle.require(State.PAUSED)\n",
        "",
        (CORE + "test_lifecycle.py", FUZZ),
    ),
    Mutant("a paused VM can be started", RUN, "        vm.lifecycle.require(State.INIT)\n", "", (CORE + "test_lifecycle.py",)),
    # Its interrupt controllers.
    Mutant(
        "a shared interrupt is routed by what IROUTER does not have",
        ARM64 + "gic/distributor.py",
        "_AFFINITY_MASK = 0xFF_FFFF\n",
        "_AFFINITY_MASK = 0x80FF_FFFF\n",
        (ARM + "test_gic_distributor.py",),
    ),
    Mutant(
        "a shared interrupt stays where it was routed",
        ARM64 + "gic/distributor.py",
        "            self._interfaces[old].routed &= ~bit\n",
        "            pass\n",
        (ARM + "test_gic_distributor.py",),
    ),
    Mutant(
        "an edge that lasts is many",
        ARM64 + "gic/irq_state.py",
        "            if bit & self.edge and not bit & self.level:\n",
        "            if bit & self.edge:\n",
        (ARM + "test_gic_distributor.py",),
    ),
    Mutant(
        "clearing what is pending lowers the wire",
        ARM64 + "gic/irq_state.py",
        "                self.latch &= ~bits\n",
        "                self.latch &= ~bits\n                self.level &= ~bits\n",
        (ARM + "test_gicv3_clauses.py",),
    ),
    Mutant(
        "setting active takes what is pending",
        ARM64 + "gic/irq_state.py",
        "                self.active |= bits\n",
        "                self.active |= bits\n                self.latch &= ~bits\n                self.level &= ~bits\n",
        (ARM + "test_gicv3_clauses.py",),
    ),
    Mutant(
        "all eight bits of a priority are kept",
        ARM64 + "gic/irq_state.py",
        "            self.priority[index] = value & PRIORITY_MASK\n",
        "            self.priority[index] = value & 0xFF\n",
        (ARM + "test_gicv3_clauses.py",),
    ),
    Mutant(
        "Group 1 is grouped as Group 0 is",
        ARM64 + "gic/cpu_interface.py",
        "group0 if self._ctlr & _CTLR_CBPR else 0xFF << self._bpr1 & 0xFF)",
        "group0 if self._ctlr & _CTLR_CBPR else 0xFF << self._bpr1 + 1 & 0xFF)",
        (ARM + "test_gicv3_clauses.py",),
    ),
    Mutant(
        "CBPR is for nobody",
        ARM64 + "gic/cpu_interface.py",
        "group0 if self._ctlr & _CTLR_CBPR else 0xFF << self._bpr1 & 0xFF)",
        "0xFF << self._bpr1 & 0xFF)",
        (ARM + "test_gicv3_clauses.py",),
    ),
    Mutant(
        "DIR needs no EOImode",
        ARM64 + "gic/cpu_interface.py",
        "        if self._ctlr & _CTLR_EOIMODE and intid < _FIRST_SPECIAL:\n",
        "        if intid < _FIRST_SPECIAL:\n",
        (ARM + "test_gic_cpu_interface.py", ARM + "test_gicv2_clauses.py"),
    ),
    Mutant(
        "a shared interrupt that ends elsewhere is forgotten",
        ARM64 + "gic/cpu_interface.py",
        "                if not self.routed >> index & 1:\n",
        "                if False:\n",
        (ARM + "test_gic_cpu_interface.py",),
    ),
    Mutant(
        "SGI0R reaches Group 1",
        ARM64 + "gic/gicv3.py",
        "    if group1 or not bank.group1 & bit:\n",
        "    if True:\n",
        (ARM + "test_gic_redistributor.py",),
    ),
    Mutant(
        "GICC_IAR takes Group 1 unasked",
        ARM64 + "gic/cpu_interface_v2.py",
        "        return not self._gicc_ctlr & _ACK_CTL\n",
        "        return False\n",
        (ARM + "test_gicv2_clauses.py",),
    ),
    Mutant(
        "FIQEn is for nobody",
        ARM64 + "gic/cpu_interface_v2.py",
        "        self._group0_is_fiq = bool(value & _FIQ_EN)\n",
        "",
        (ARM + "test_gicv2_clauses.py",),
    ),
    Mutant(
        "one SGI taken takes those of all senders",
        ARM64 + "gic/cpu_interface_v2.py",
        "            self.sources[intid] &= self.sources[intid] - 1\n",
        "            self.sources[intid] = 0\n",
        (ARM + "test_gicv2.py",),
    ),
    Mutant(
        "a shared interrupt is taken by every target",
        ARM64 + "gic/cpu_interface_v2.py",
        "            self._gicd.update_target(intid - FIRST_SPI)  # nobody else may take it too (1-N model, 1.4.3)\n",
        "            pass\n",
        (ARM + "test_gicv2.py",),
    ),
    Mutant(
        "EOIR ends Group 0 whatever runs",
        ARM64 + "gic/cpu_interface_v2.py",
        "        return int(not group0 or (group1 & -group1) < (group0 & -group0))\n",
        "        return int(not group0)\n",
        (ARM + "test_gicv2_clauses.py",),
    ),
    Mutant(
        "the pending registers reach SGIs",
        ARM64 + "gic/distributor_v2.py",
        "                value &= ~_SGI_BITS & WORD  # SGIs are made pending by their senders (4.3.7)\n",
        "                pass\n",
        (ARM + "test_gicv2.py",),
    ),
    # Its timers and PMU, and what a reset leaves of them.
    Mutant(
        "a timer fires a nanosecond early",
        ARM64 + "timer.py",
        "        return -(-(raw + value - count) * _NS_PER_S // self.frequency_hz)\n",
        "        return (raw + value - count) * _NS_PER_S // self.frequency_hz\n",
        (ARM + "test_timer.py",),
    ),
    Mutant(
        "a reset leaves the timers as they are",
        ARM64 + "timer.py",
        "        self._stopped = False\n        self.virtual.reset()\n",
        "        self._stopped = False\n",
        (ARM + "test_resets.py",),
    ),
    Mutant(
        "a reset leaves a vCPU's timers stopped",
        ARM64 + "timer.py",
        "        self._stopped = False\n        self.virtual.reset()\n",
        "        self.virtual.reset()\n",
        (ARM + "test_resets.py",),
    ),
    Mutant(
        "a timer wakes who is powered off",
        ARM64 + "vcpu.py",
        "        self.timers.stop()\n        self._vcpu.power_off()\n",
        "        self._vcpu.power_off()\n",
        (ARM + "test_resets.py",),
    ),
    Mutant(
        "a timer on its way reaches who is powered off",
        ARM64 + "timer.py",
        "                return  # it was on its way when the vCPU was powered off\n",
        "                pass\n",
        (ARM + "test_resets.py",),
    ),
    Mutant(
        "lateness is of every timer",
        ARM64 + "timer.py",
        "                if due_ns and timer.waited and level:\n",
        "                if due_ns is not None and level:\n",
        (ARM + "test_timer.py",),
    ),
    Mutant(
        "a reset leaves the PMU's line",
        ARM64 + "pmu_counters.py",
        "        self._clear()\n        self._program()\n        self._update_line()\n",
        "        self._clear()\n        self._program()\n",
        (ARM + "test_resets.py",),
    ),
    Mutant(
        "a reset leaves the PMU counting",
        ARM64 + "pmu_counters.py",
        "        self._clear()\n        self._program()\n        self._update_line()\n",
        "        self._clear()\n        self._update_line()\n",
        (ARM + "test_resets.py",),
    ),
    # Its serial port and clock.
    Mutant(
        "FIFOs are as deep as before r1p5",
        "plugins/avmm_uart/registers.py",
        "FIFO_DEPTH: Final = 32\n",
        "FIFO_DEPTH: Final = 16\n",
        ("tests/unit/test_pl011.py",),
    ),
    Mutant(
        "a character beyond the trigger level is needed",
        "plugins/avmm_uart/pl011.py",
        "INT_RX if len(fifo) >= self._receive_trigger() else 0",
        "INT_RX if len(fifo) > self._receive_trigger() else 0",
        ("tests/unit/test_pl011.py",),
    ),
    Mutant(
        "an overrun marks every character",
        "plugins/avmm_uart/pl011.py",
        "        self._overrun = False\n        self.received += 1\n",
        "        self.received += 1\n",
        ("tests/unit/test_pl011.py",),
    ),
    Mutant(
        "a break lasts",
        "plugins/avmm_uart/pl011.py",
        "        if self._breaking and not before:\n",
        "        if self._breaking:\n",
        ("tests/unit/test_pl011.py",),
    ),
    Mutant(
        "the receive status is that of every character so far",
        "plugins/avmm_uart/pl011.py",
        "registers[Register.RSR_ECR] & RSR_OE | character",
        "registers[Register.RSR_ECR] | character",
        ("tests/unit/test_pl011.py",),
    ),
    Mutant(
        "a match of the clock comes again half a time around",
        "plugins/avmm_rtc/pl031.py",
        "            self._match_ns += NS_PER_S << 32  # once around\n",
        "            self._match_ns += NS_PER_S << 31\n",
        ("tests/unit/test_pl031.py",),
    ),
    Mutant(
        "a load leaves the match where it was",
        "plugins/avmm_rtc/pl031.py",
        "                if self._match_ns is not None:\n",
        "                if False:\n",
        ("tests/unit/test_pl031.py",),
    ),
    # The page.
    Mutant(
        "a lane records without end",
        UI + "lanes.py",
        "if len(changes) >= CHANGES:",
        "if len(changes) < 0:",
        (PAGES + "test_lanes.py",),
    ),
    Mutant(
        "a full lane stays away",
        UI + "lanes.py",
        "            add_tracer(self._vcpu, self._hook)\n        elif",
        "            pass\n        elif",
        (PAGES + "test_lanes.py",),
    ),
    Mutant(
        "kicks without end",
        UI + "lanes.py",
        "                request = asked.pop(get_ident(), NO_REQUEST)\n                if len(kicks) < KICKS:",
        "                request = asked.pop(get_ident(), NO_REQUEST)\n                if True:",
        (PAGES + "test_lanes.py",),
    ),
    Mutant(
        "a kick is always the host's",
        UI + "lanes.py",
        "if vcpu is not None and vcpu.in_guest_thread():",
        "if False:",
        (PAGES + "test_lanes.py",),
    ),
    Mutant(
        "frames pile up for a page that stalls",
        UI + "page.py",
        "return not self._frame and self._sent - self._shown < FRAMES_AHEAD",
        "return True",
        (PAGES + "test_stream.py",),
    ),
    Mutant(
        "output piles up for a page that stalls",
        UI + "page.py",
        "if not self._piece and self._sent - self._shown < OUTPUT_AHEAD and self._draw():",
        "if not self._piece and self._draw():",
        (PAGES + "test_stream.py",),
    ),
    Mutant(
        "the end is told before the last of the output",
        UI + "page.py",
        "            self._over = not self._draw()",
        "            self._over = True",
        (PAGES + "test_stream.py",),
    ),
    Mutant(
        "the place of another run is believed",
        UI + "stream.py",
        'known = socket.query_params.get("session") == live.session',
        "known = True",
        (PAGES + "test_stream.py",),
    ),
    Mutant(
        "a WebSocket needs no token",
        "plugins/avmm_control/guard.py",
        '        refusal = self._refusal(scope["path"], headers)\n',
        '        refusal = self._refusal(scope["path"], headers) if scope["type"] == "http" else None\n',
        (PAGES + "test_stream.py",),
    ),
    Mutant(
        "every page has the same nonce",
        UI + "site.py",
        "nonce = secrets.token_urlsafe(16)",
        'nonce = "0" * 22',
        (PAGES + "test_site.py",),
    ),
    # Steering, and who may.
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
    Mutant(
        "any Host will do",
        GUARD,
        'if not self._host_is_ours(headers.getlist("host")):',
        "if False:",
        (CONTROL + "test_security.py",),
    ),
    Mutant(
        "pages of any origin may ask",
        GUARD,
        "if not is_open and not _same_origin(headers):",
        "if False:",
        (CONTROL + "test_security.py",),
    ),
    Mutant(
        "the beginning of the token will do",
        GUARD,
        'return hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._token)',
        'return self._token.startswith(token.strip().encode("latin-1", "replace"))',
        (CONTROL + "test_security.py",),
    ),
    Mutant(
        "a body may grow on the way", GUARD, "if received > limits.body_bytes:", "if False:", (CONTROL + "test_bad_input.py",)
    ),
    Mutant(
        "a body may take for ever",
        GUARD,
        "asyncio.timeout(limits.request_s)",
        "asyncio.timeout(None)",
        (CONTROL + "test_bad_input.py",),
    ),
    Mutant(
        "a client that does not read is kept",
        "plugins/avmm_control/protocol.py",
        "        self._stalled = self.loop.call_later(self.limits.stalled_s, self.transport.abort)\n",
        "",
        (CONTROL + "test_bad_input.py::test_a_client_that_does_not_take_its_answer_is_cut_off",),
    ),
    Mutant("others may connect", SOCKETS, "path.chmod(0o600)", "path.chmod(0o666)", (CONTROL + "test_security.py",)),
    Mutant(
        "a socket in use is taken over", SOCKETS, "    if answers(path):\n", "    if False:\n", (CONTROL + "test_listening.py",)
    ),
    Mutant(
        "a runtime directory may be open to others",
        "plugins/avmm_control/address.py",
        " and not found.st_mode & 0o077",
        "",
        (CONTROL + "test_security.py",),
    ),
    Mutant(
        "TCP needs no token",
        "plugins/avmm_control/server.py",
        "if isinstance(address, TcpAddress) and token is None:",
        "if False:",
        (CONTROL + "test_security.py",),
    ),
    Mutant(
        "events that are lost are not counted",
        "plugins/avmm_control/ring.py",
        "return new, new[-1][0] - number - len(new) if new else 0",
        "return new, 0",
        (CONTROL + "test_streams.py",),
    ),
    # What every run needs, without the libraries for it.
    Mutant("a distribution counts twice", ENTRIES, "if project not in seen:", "if True:", (CORE + "test_entry_points.py",)),
    Mutant("a comment is an entry point", ENTRIES, 'elif not line.startswith("#"):', "else:", (CORE + "test_entry_points.py",)),
    Mutant("of two plugins of a name the first is taken", "avmm/registry.py", "if len(quick) == 1:", "if quick:", (REGISTRY,)),
    Mutant("structlog is imported for events that nobody hears", "avmm/log.py", "if _is_heard(level):", "if True:", (LOGS,)),
    Mutant(
        "an application's structlog hears nothing",
        "avmm/log.py",
        "structlog is not None and structlog",
        "False and structlog",
        (LOGS,),
    ),
    Mutant("a field told again is an error", "avmm/log.py", "**{**self._fields, **fields}", "**self._fields, **fields", (LOGS,)),
    Mutant(
        "structlog is configured too late",
        "avmm/log.py",
        "            configure()\n    logger:",
        "            pass\n    logger:",
        ("tests/unit/cli/test_logs.py",),
    ),
    # The machine's description.
    Mutant("a number above its limit passes", CHECKS, "if value > high:", "if value > high + 1:", (CONFIG,)),
    Mutant(
        "true is a whole number",
        CHECKS,
        'isinstance(value, int) or isinstance(value, bool):\n            raise ValueError(f"{shown(value)} is not a whole',
        'isinstance(value, int):\n            raise ValueError(f"{shown(value)} is not a whole',
        (CONFIG,),
    ),
    Mutant("a key that nobody knows passes", CHECKS, "if key not in checks:", "if False:", (CONFIG,)),
    Mutant("a device needs no kind", "avmm/config.py", 'required=("kind",)', "required=()", (CONFIG,)),
    Mutant(
        "only the first mistake is told",
        "avmm/config_errors.py",
        "if len(self._errors) == 1 else",
        "if self._errors else",
        (CONFIG,),
    ),
    Mutant("a mistake in a table has the table's key", "avmm/config_errors.py", 'key=f"{key}.{one.key}"', "key=key", (CONFIG,)),
    Mutant(
        "what has its default counts as given",
        "avmm/config.py",
        "for key in self._given}",
        "for key in vars(self) if key[0] != '_'}",
        (CONFIG,),
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
    # The options of plugins.
    Mutant(
        "true is a number among a plugin's options",
        OPTIONS,
        "isinstance(value, int) and not isinstance(value, bool) and least",
        "isinstance(value, int) and least",
        (OPTIONS_OF,),
    ),
    Mutant(
        "a plugin's option may have any name",
        OPTIONS,
        "            if key not in keys:\n",
        "            if False:\n",
        (OPTIONS_OF,),
    ),
    # The engine.
    Mutant(
        "kicks are not sticky",
        SCRIPTED,
        "        with self._lock:\n            self._kicked = True\n            if self.spinning:\n",
        "        with self._lock:\n            self._kicked = self.spinning\n            if self.spinning:\n",
        (KICKS,),
    ),
    # The native shim of the Unicorn engine.
    Mutant(
        "a translation of other instructions is taken over",
        REUSE,
        "memcmp(words, block->source, FIELD(uint16_t, other->tb, TB_ICOUNT) * sizeof *words) == 0",
        "words != NULL",
        (REUSED,),
    ),
    Mutant(
        "a translation for another address is taken over",
        REUSE,
        "other->ram_address == block->ram_address && FIELD(uint64_t, other->tb, TB_PC) == FIELD(uint64_t, tb, TB_PC)",
        "true",
        (REUSED,),
    ),
    Mutant("a translation taken over has another vCPU's registers", REUSE, "(uintptr_t)new;", "(uintptr_t)old;", (REUSED,)),
    Mutant("a translation taken over has another vCPU's constants", REUSE, "|| !same_register(old, new)", "", (REUSED,)),
    Mutant("translations that jump to others cannot be taken over", REUSE, "sizeof(int32_t));", "0);", (REUSED,)),
    Mutant(
        "a translation taken over does not know where its instructions are",
        REUSE,
        "    copy_restore_data(vcpu->tcg, other->tb);\n",
        "",
        (REUSED,),
    ),
    Mutant(
        "a translation is taken over by who counts",
        TRANSLATIONS,
        "block->noted = !vcpu->counting && ",
        "block->noted = ",
        (REUSED,),
    ),
    Mutant(
        "translations that are dropped can be taken over",
        TRANSLATIONS,
        "    if (translations->heads == NULL) {\n        return;",
        "    {\n        return;",
        (REUSED,),
    ),
    Mutant("IC IALLU drops nothing", TRANSLATIONS, "if (!gone && ", "if (false && ", (REUSED,)),
    Mutant("IC IALLU drops everything", TRANSLATIONS, "    if (translations->missing) {\n", "    {\n", (REUSED,)),
    Mutant(
        "constants in code that was moved are taken for instructions",
        HOST_CODE,
        "*constants = inside;",
        "*constants = move->size;",
        (REUSED,),
    ),
    Mutant(
        "an interrupt that is unmasked waits for something else",
        UNICORN + "translate.c",
        "lib.tcg_brcondi_i32(tcg, COND_NE, handle(tcg, request), INTERRUPT_ALWAYS, leave);",
        "lib.tcg_brcondi_i32(tcg, COND_LT, handle(tcg, request), 0, leave);",
        ("tests/unit/unicorn/test_interrupts.py",),
    ),
]
