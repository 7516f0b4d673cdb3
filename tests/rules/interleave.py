"""A small model checker: the real functions of two or more sides, run step by step through every interleaving.

Each side is a function on a thread of its own, and only one thread runs at any time. Whenever a side is about to touch something
shared (an instrumented attribute, lock or engine), it stops, and the explorer decides who goes next. Every sequence of decisions
is tried, depth first, each from the beginning. An access under the lock is no step of its own where everybody else takes the lock
for it too: what the lock excludes cannot come between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_SIDE = threading.local()


class Violation(AssertionError):
    """An interleaving that breaks the rule, with its steps."""


def _closed() -> threading.Lock:
    """A lock as a gate: shut until somebody releases it, and shut again behind whoever goes through. The fastest there is."""
    gate = threading.Lock()
    gate.acquire()
    return gate


@dataclass(eq=False)
class Side:
    """One of the concurrent parties."""

    name: str
    work: Callable[[], object]
    go: threading.Lock = field(default_factory=_closed)
    may_go: Callable[[], bool] = lambda: True
    done: bool = False
    error: BaseException | None = None


class Stepper:
    """Runs the sides of one execution, one step at a time."""

    def __init__(self) -> None:
        self.trail: list[str] = []
        """The steps taken: `side: what`."""
        self._sides: Sequence[Side] = ()
        self._decide: Callable[[int], int] = lambda among: 0
        self._over = _closed()
        self._abandoned = False

    def step(self, what: str, may_go: Callable[[], bool] = lambda: True) -> None:
        """The calling side is about to do `what`, which has to wait while not `may_go()`. No side: nothing."""
        side = self.side()
        if side is None or self._abandoned:  # abandoned: on its way out, through the code's `finally`
            return
        side.may_go = may_go
        chosen = self._choose()
        if chosen is not side:
            (self._over if chosen is None else chosen.go).release()
            side.go.acquire()
            if self._abandoned:
                raise SystemExit
        self.trail.append(f"{side.name}: {what}")

    def side(self) -> Side | None:
        """The side that the calling thread is, or None."""
        return getattr(_SIDE, "side", None)

    def _choose(self) -> Side | None:
        """Whoever goes next, or None when nobody can."""
        ready = [side for side in self._sides if not side.done and side.may_go()]
        if not ready:
            return None
        return ready[self._decide(len(ready))] if len(ready) > 1 else ready[0]

    def _body(self, side: Side) -> None:
        _SIDE.side = side
        side.go.acquire()
        try:
            if not self._abandoned:
                side.work()
        except SystemExit:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the explorer
            side.error = error
        side.done = True
        if not self._abandoned:
            chosen = self._choose()
            (self._over if chosen is None else chosen.go).release()

    def run(self, sides: Sequence[Side], decide: Callable[[int], int], threads: Threads) -> list[Side]:
        """Run all `sides` as `decide(choices)` says, until none can go on; those that are stuck."""
        self._sides, self._decide = sides, decide
        threads.run([lambda side=side: self._body(side) for side in sides])
        if (first := self._choose()) is not None:
            first.go.release()
            self._over.acquire()
        stuck = [side for side in sides if not side.done]
        self._abandoned = True
        for side in stuck:
            side.go.release()
        threads.wait()
        for side in sides:
            if side.error is not None:
                raise side.error
        return stuck


class Threads:
    """A thread for each side, kept from one execution to the next."""

    def __init__(self) -> None:
        self._gates: list[tuple[threading.Lock, threading.Lock]] = []
        self._work: list[Callable[[], None]] = []
        self._running = 0

    def run(self, work: list[Callable[[], None]]) -> None:
        """Begin all of `work`."""
        self._work, self._running = work, len(work)
        while len(self._gates) < len(work):
            self._gates.append((_closed(), _closed()))
            threading.Thread(target=self._serve, args=(len(self._gates) - 1,), daemon=True).start()
        for begin, _ in self._gates[: len(work)]:
            begin.release()

    def wait(self) -> None:
        """Wait until all of it is done."""
        for _, end in self._gates[: self._running]:
            end.acquire()

    def _serve(self, number: int) -> None:
        begin, end = self._gates[number]
        while True:
            begin.acquire()
            if number >= len(self._work):
                return
            self._work[number]()
            end.release()

    def close(self) -> None:
        """End the threads."""
        self._work = []
        for begin, _ in self._gates:
            begin.release()


Scenario = Callable[[Stepper], tuple[Sequence[Side], Callable[[Sequence[str]], object]]]
"""Makes a fresh set of sides, and the check of what they came to: it is given the names of the sides that are stuck."""


def explore(scenario: Scenario, *, limit: int = 50_000) -> int:
    """Run `scenario` through all its interleavings; how many there were. Violation at the first that its check refuses."""
    prefix: list[int] = []
    threads = Threads()
    try:
        for count in range(1, limit + 1):
            choices: list[int] = []
            taken: list[int] = []
            _execute(scenario, threads, prefix, choices, taken)
            while taken and taken[-1] + 1 == choices[-1]:
                taken.pop()
                choices.pop()
            if not taken:
                return count
            prefix = [*taken[:-1], taken[-1] + 1]
    finally:
        threads.close()
    raise AssertionError(f"more than {limit} interleavings")


def _execute(scenario: Scenario, threads: Threads, prefix: list[int], choices: list[int], taken: list[int]) -> None:
    """One execution: the decisions of `prefix`, then always the first choice. Leaves behind what could be chosen and what was."""

    def decide(among: int) -> int:
        choice = prefix[len(taken)] if len(taken) < len(prefix) else 0
        choices.append(among)
        taken.append(choice)
        return choice

    stepper = Stepper()
    sides, check = scenario(stepper)
    try:
        stuck = stepper.run(sides, decide, threads)
        check([side.name for side in stuck])
    except AssertionError as error:
        steps = "\n  ".join(stepper.trail)
        raise Violation(f"{error}\nafter\n  {steps}") from error


class SteppedLock:
    """A lock whose taking is a step."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._owner: Side | None = None
        self._fresh = False

    def __enter__(self) -> None:
        self._stepper.step("lock", lambda: self._owner is None)
        self._owner, self._fresh = self._stepper.side(), True

    def __exit__(self, *_: object) -> None:
        self._owner = None

    def held(self) -> bool:
        """True when the calling side has the lock."""
        return self._owner is not None and self._owner is self._stepper.side()

    def first(self) -> bool:
        """True once after the lock was taken: that, and the first access under it, are one step.

        Whatever another side does between the two without the lock, it could as well have done before both.
        """
        fresh, self._fresh = self._fresh, False
        return fresh
