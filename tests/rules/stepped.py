"""A real vCPU whose shared attributes stop the explorer: its code is avmm's own, only the accesses are watched."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from inspect import getattr_static
from types import ModuleType
from typing import Any
from unittest.mock import patch

from avmm.clock import VirtualClock
from avmm.exits import KICKED, Exit
from avmm.testing import ToyRequest
from avmm.vcpu import kicker as real_kicker
from avmm.vcpu import posted as real_posted
from avmm.vcpu import vcpu as real_vcpu
from avmm.vcpu import waitqueue as real_waitqueue
from avmm.vcpu.mode import VcpuMode
from avmm.vcpu.posted import PostedWord
from avmm.vcpu.vcpu import Vcpu
from tests.mutants.mutant import ROOT
from tests.mutants.mutants import MUTANTS
from tests.mutants.places import ENTRY, VCPU, WORD
from tests.rules.interleave import SteppedLock, Stepper


class Modules:
    """The modules under check; a mutant's in place of the real ones, where a test asks for it."""

    def __init__(self, **replaced: ModuleType) -> None:
        self.vcpu: ModuleType = replaced.get("vcpu", real_vcpu)
        self.kicker: ModuleType = replaced.get("kicker", real_kicker)
        self.posted: ModuleType = replaced.get("posted", real_posted)
        self.halt: ModuleType | None = replaced.get("halt")


REAL = Modules()


def mutated(name: str) -> Modules:
    """avmm's modules with the mutant `name` among them."""
    (mutant,) = [mutant for mutant in MUTANTS if mutant.name == name]
    place, module = _load(mutant.file, mutant.mutated())
    made_of = (WORD, ENTRY, VCPU)  # each of the one before
    if mutant.file in made_of:
        with patch.dict(sys.modules, {place: module}):
            for file in made_of[made_of.index(mutant.file) + 1 :]:
                place, module = _load(file, (ROOT / file).read_text())
                sys.modules[place] = module
    return Modules(**{place.rpartition(".")[2]: module})


def _load(file: str, source: str) -> tuple[str, ModuleType]:
    """The name of the module in `file` and a module of that name with `source`."""
    place = file.removesuffix(".py").replace("/", ".")
    module = ModuleType(place)
    exec(compile(source, file, "exec"), module.__dict__)
    return place, module


class SteppedEngine:
    """An engine whose guest spins until kicked."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self.kicked = False
        self.in_guest = False
        self.instructions = 0
        self.mode: Callable[[], VcpuMode] = lambda: VcpuMode.IN_GUEST_MODE

    def kick(self) -> None:
        self._stepper.step("engine.kick")
        assert self.mode() is not VcpuMode.OUTSIDE_GUEST_MODE, "a kick that comes late"
        self.kicked = True

    def clear_kick(self) -> None:
        self._stepper.step("engine.clear_kick")
        self.kicked = False

    def enter(self, budget: int = 0) -> Exit:
        self._stepper.step("engine.enter")
        self.in_guest = not self.kicked
        self._stepper.step("engine.exit", lambda: self.kicked)
        self.in_guest = self.kicked = False
        return KICKED


class SteppedArch:
    """An architecture that does nothing, and is runnable when it is told so."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self.irq = False
        self.flushed_irq = False
        self.posted: PostedWord | None = None

    def raise_irq(self) -> None:
        self._stepper.step("raise irq")
        self.irq = True

    def flush_hwstate(self) -> None:
        self._stepper.step("flush irq")
        self.flushed_irq = self.irq
        if self.posted is not None:
            self.posted.take()

    def sync_hwstate(self) -> None:
        pass

    def runnable(self) -> bool:
        self._stepper.step("look at irq")
        return self.irq

    def pending_timer(self) -> bool:
        return False

    def blocking(self) -> None:
        pass

    def unblocking(self) -> None:
        pass

    def timers_sleep(self) -> int | None:
        return None

    def timers_wake(self) -> None:
        pass


class SyncSlot:
    """A slot on the calling thread."""

    waiting = 0
    sleeps_here = True

    async def acquire(self, vcpu: Vcpu) -> None:
        pass

    def release(self, vcpu: Vcpu) -> None:
        pass

    async def enter(self, vcpu: Vcpu) -> Exit:
        return vcpu.enter_guest()


class SteppedFuture:
    """What a sleeper awaits."""

    def __init__(self) -> None:
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, result: None) -> None:
        self._done = True

    def __await__(self):
        while not self._done:
            yield self


class SteppedThreadWaiter(real_waitqueue.ThreadWaiter):
    """What a thread sleeps on: its side waits for it."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper, self._set = stepper, False

    def set(self) -> None:
        assert not self._set, "set twice: a real one would raise"
        self._set = True

    def wait(self, timeout_ns: int | None) -> None:
        self._stepper.step("sleep", lambda: self._set)


class SteppedLoop:
    """An event loop of the sleeper's, as its wait queue uses it."""

    def create_future(self) -> SteppedFuture:
        return SteppedFuture()

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> None:
        callback(*args)


class Host:
    """The VM."""

    clock = VirtualClock()


def _watched(base: type, name: str, stepper: Stepper, lock: Callable[[Any], SteppedLock], locked: str) -> property:
    """A property over the slot `name` of `base`: every access is a step, but for those (`r`, `w`) in `locked` under the lock."""
    slot = getattr_static(base, name)  # AttributeError when it is there no more: then the check would check nothing

    def get(self: object) -> object:
        if not (lock(self).held() and ("r" in locked or lock(self).first())):
            stepper.step(f"read {name}")
        return slot.__get__(self)

    def put(self: object, value: object) -> None:
        if stepper.side() is not None and not (lock(self).held() and ("w" in locked or lock(self).first())):
            stepper.step(f"write {name}")
        slot.__set__(self, value)

    return property(get, put)


def stepped_vcpu(stepper: Stepper, modules: Modules = REAL) -> Vcpu:
    """A vCPU whose every shared access is a step."""
    base = modules.vcpu.Vcpu

    def watched(name: str, locked: str) -> property:
        return _watched(base, name, stepper, lambda vcpu: vcpu.lock, locked)

    class SteppedVcpu(base):  # type: ignore[misc, valid-type]
        # Everybody takes the lock for the mode, so that under the lock nothing comes between; the requests are read without it.
        mode = watched("mode", "rw")
        _requests = watched("_requests", "r")
        powered_off = watched("powered_off", "")
        posted = watched("posted", "")
        recalled = watched("recalled", "")

    class SteppedQueue(real_waitqueue.WaitQueue):
        waiter = _watched(real_waitqueue.WaitQueue, "waiter", stepper, lambda self: vcpu.lock, "r")

        def prepare(self, *, here: bool) -> real_waitqueue.Waiter:
            if not here:
                return super().prepare(here=False)
            self.waiter = waiter = SteppedThreadWaiter(stepper)
            return waiter

    vcpu = SteppedVcpu.__new__(SteppedVcpu)
    vcpu.lock = SteppedLock(stepper)
    handlers = {ToyRequest.IRQ_PENDING: _nothing, ToyRequest.WORK: _nothing}
    vcpu.__init__(0, Host(), handlers, {})
    vcpu.lock = SteppedLock(stepper)
    if modules.halt is not None:
        vcpu.sleep = modules.halt.Sleep(vcpu)
    queue = SteppedQueue()
    queue._loop = SteppedLoop()  # type: ignore[assignment]
    vcpu.sleep.queue = queue
    vcpu.arch = SteppedArch(stepper)  # type: ignore[assignment]
    vcpu.engine = engine = SteppedEngine(stepper)  # type: ignore[assignment]
    engine.mode = lambda: getattr_static(base, "mode").__get__(vcpu)
    vcpu.slot = SyncSlot()  # type: ignore[assignment]
    return vcpu


def stepped_word(vcpu: Vcpu, stepper: Stepper, modules: Modules = REAL) -> PostedWord:
    """A posted word for `vcpu`, likewise."""
    base = modules.posted.PostedWord
    outstanding = _watched(base, "outstanding", stepper, lambda word: vcpu.lock, "r")
    return type("SteppedWord", (base,), {"outstanding": outstanding})(vcpu)


def _nothing(vcpu: Vcpu) -> None:
    pass


def drive(coroutine: Coroutine[object, object, object], stepper: Stepper) -> object:
    """Run `coroutine` on the calling side; where it sleeps, the side waits for its future."""
    try:
        while True:
            waiting = coroutine.send(None)
            if isinstance(waiting, SteppedFuture):
                stepper.step("sleep", waiting.done)
            else:  # asyncio.sleep(0)
                assert not asyncio.isfuture(waiting)
                stepper.step("yield")
    except StopIteration as stop:
        return stop.value


__all__ = ["REAL", "Modules", "SteppedEngine", "VcpuMode", "drive", "stepped_vcpu"]
