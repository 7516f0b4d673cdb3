"""A VM's life: its states, and which may follow which."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from avmm.errors import LifecycleError


class State(Enum):
    """Where a VM is in its life."""

    INIT = "init"
    """Built, and never run."""
    RUNNING = "running"
    PAUSED = "paused"
    """Quiesced: every vCPU outside the guest, every device at rest."""
    RESET = "reset"
    """On the way from one run to the next."""
    HALTED = "halted"
    """Over. Nothing follows."""


LEGAL: dict[State, frozenset[State]] = {
    State.INIT: frozenset({State.RUNNING, State.HALTED}),
    State.RUNNING: frozenset({State.PAUSED, State.RESET, State.HALTED}),
    State.PAUSED: frozenset({State.RUNNING, State.RESET, State.HALTED}),
    State.RESET: frozenset({State.RUNNING, State.PAUSED, State.HALTED}),
    State.HALTED: frozenset(),
}


class Lifecycle:
    """The state of one VM. Owned by the event loop."""

    def __init__(self) -> None:
        self.state = State.INIT
        self._watchers: list[Callable[[State], None]] = []

    def watch(self, told: Callable[[State], None]) -> Callable[[], None]:
        """Have `told` called with every new state, right behind the move. What is returned ends that, whenever it is called."""
        self._watchers.append(told)

        def unwatch() -> None:
            if told in self._watchers:
                self._watchers.remove(told)

        return unwatch

    def require(self, state: State) -> None:
        """LifecycleError in any other state: one that a move could start from, but not this one's."""
        if self.state is not state:
            raise LifecycleError(f"the VM is {self.state.value}, not {state.value}")

    def move(self, to: State) -> None:
        """Go to state `to`; LifecycleError when that may not follow the present one."""
        if to not in LEGAL[self.state]:
            raise LifecycleError(f"a VM that is {self.state.value} cannot become {to.value}")
        self.state = to
        for told in tuple(self._watchers):
            told(to)
