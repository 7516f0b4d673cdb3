"""A ring of numbered events: the last ones, and how many a reader has missed."""

from __future__ import annotations

from collections import deque
from itertools import count

Event = tuple[int, int, int, int | str]
"""(number, nanoseconds of the VM's clock, vCPU or -1, value)."""

_MIXED = 1024
"""No event stands farther from its place in the order of numbers: more threads do not write."""


class Ring:
    """The last events of one kind. Written by any thread, without a lock; read on the event loop."""

    __slots__ = ("_add", "_events", "_number", "kept")

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self._events: deque[Event] = deque(maxlen=kept)
        # Single steps of the interpreter, which the GIL keeps apart. Two threads may append in another order than they took
        # their numbers: a reader sorts.
        self._add, self._number = self._events.append, count(1).__next__

    def add(self, at_ns: int, vcpu: int, value: int | str) -> None:
        """One more event."""
        self._add((self._number(), at_ns, vcpu, value))

    def since(self, number: int, most: int) -> tuple[list[Event], int]:
        """Events behind the one with `number`, the oldest first and no more than `most`; how many before the last are lost."""
        new = []
        for event in reversed(tuple(self._events)):
            if event[0] > number:
                new.append(event)
            elif event[0] < number - _MIXED:
                break
        new.sort()
        del new[most:]
        return new, new[-1][0] - number - len(new) if new else 0

    def last(self) -> int:
        """The number of the newest event; 0 when there is none."""
        return max((event[0] for event in tuple(self._events)[-_MIXED:]), default=0)
