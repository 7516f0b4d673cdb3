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


@dataclass(eq=False)
class Side:
    """One of the concurrent parties."""

    name: str
    work: Callable[[], object]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    may_go: Callable[[], bool] = bool
    waits_for: str = "start"
    done: bool = False
    error: BaseException | None = None


class Stepper:
    """Runs the sides of one execution, one step at a time."""

    def __init__(self) -> None:
        self.trail: list[str] = []
        """The steps taken: `side: what`."""
        self._parked = threading.Semaphore(0)
        self.abandoned = False

    def step(self, what: str, may_go: Callable[[], bool] = lambda: True) -> None:
        """The calling side is about to do `what`, which has to wait while not `may_go()`. No side: nothing."""
        side: Side | None = getattr(_SIDE, "side", None)
        if side is None or self.abandoned:  # abandoned: on its way out, through the code's `finally`
            return
        side.waits_for, side.may_go = what, may_go
        self._parked.release()
        side.go.acquire()
        if self.abandoned:
            raise SystemExit
        self.trail.append(f"{side.name}: {what}")

    def side(self) -> Side | None:
        """The side that the calling thread is, or None."""
        return getattr(_SIDE, "side", None)

    def run(self, sides: Sequence[Side], decide: Callable[[int], int]) -> list[Side]:
        """Run all `sides` as `decide(choices)` says, until none can go on; those that are stuck."""

        def body(side: Side) -> None:
            _SIDE.side = side
            side.go.acquire()
            try:
                if not self.abandoned:
                    side.work()
            except SystemExit:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again by the explorer
                side.error = error
            side.done = True
            self._parked.release()

        threads = [threading.Thread(target=body, args=(side,), daemon=True) for side in sides]
        for side, thread in zip(sides, threads, strict=True):
            side.may_go = lambda: True
            thread.start()
        while ready := [side for side in sides if not side.done and side.may_go()]:
            side = ready[decide(len(ready)) if len(ready) > 1 else 0]
            side.go.release()
            self._parked.acquire()
        stuck = [side for side in sides if not side.done]
        self.abandoned = True
        for side in stuck:
            side.go.release()
        for thread in threads:
            thread.join()
        for side in sides:
            if side.error is not None:
                raise side.error
        return stuck


Scenario = Callable[[Stepper], tuple[Sequence[Side], Callable[[Sequence[str]], None]]]
"""Makes a fresh set of sides, and the check of what they came to: it is given the names of the sides that are stuck."""


def explore(scenario: Scenario, *, limit: int = 50_000) -> int:
    """Run `scenario` through all its interleavings; how many there were. Violation at the first that its check refuses."""
    prefix: list[int] = []
    for count in range(1, limit + 1):
        choices: list[int] = []
        taken: list[int] = []

        def decide(among: int) -> int:
            choice = prefix[len(taken)] if len(taken) < len(prefix) else 0  # noqa: B023 - used at once
            choices.append(among)  # noqa: B023
            taken.append(choice)  # noqa: B023
            return choice

        stepper = Stepper()
        sides, check = scenario(stepper)
        try:
            stuck = stepper.run(sides, decide)
            check([side.name for side in stuck])
        except AssertionError as error:
            steps = "\n  ".join(stepper.trail)
            raise Violation(f"{error}\nafter\n  {steps}") from error
        while taken and taken[-1] + 1 == choices[-1]:
            taken.pop()
            choices.pop()
        if not taken:
            return count
        prefix = [*taken[:-1], taken[-1] + 1]
    raise AssertionError(f"more than {limit} interleavings")


class SteppedLock:
    """A lock whose taking is a step."""

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self.owner: Side | None = None

    def __enter__(self) -> None:
        self._stepper.step("lock", lambda: self.owner is None)
        self.owner = self._stepper.side()

    def __exit__(self, *_: object) -> None:
        self.owner = None

    def held(self) -> bool:
        """True when the calling side has the lock."""
        return self.owner is not None and self.owner is self._stepper.side()
