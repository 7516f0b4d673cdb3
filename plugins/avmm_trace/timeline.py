"""A timeline: tracks with slices of time and moments on them, arrows between these, and counters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum


class Category(Enum):
    """What a slice is about."""

    STATE = "state"
    """The VM's state."""
    GUEST = "guest"
    """In the guest, or on the way in (`entering`); a moment where the way in was given up."""
    SLEEP = "sleep"
    """`halted`, or `off` (powered off or paused)."""
    MODE = "mode"
    """A `VcpuMode` other than OUTSIDE_GUEST_MODE."""
    EXIT = "exit"
    """A moment: guest mode was left. Its name is the reason."""
    REQUEST = "request"
    """A moment: a request was made, on the track of whoever made it."""
    KICK = "kick"
    """A moment: what a kick came to, on the track of whoever kicked."""
    WAKEUP = "wake-up"
    """A moment: a sleeper is woken, but not by a kick."""
    HANDLER = "handler"
    """A moment: a request is handled."""
    INTERRUPT = "interrupt"
    """An interrupt line or pin is high."""
    TIMER = "timer"
    DEVICE = "device"


@dataclass(slots=True)
class Slice:
    """A stretch of time on a track, or a moment when it ends where it starts. Times are nanoseconds of the VM's clock."""

    track: int
    start_ns: int
    end_ns: int
    category: Category
    name: str
    detail: str = ""
    flows: list[int] = field(default_factory=list)
    """The arrows that pass through its start, in ascending order; an arrow leads from each of its slices to the next."""

    @property
    def length_ns(self) -> int:
        """How long it took."""
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True)
class Track:
    """A line of the picture."""

    number: int
    name: str
    parent: int = 0
    """The track it belongs to; 0 for those that belong to the VM as a whole."""
    counter: bool = False


@dataclass(frozen=True, slots=True)
class CounterSample:
    """A counter's value at one moment."""

    track: int
    at_ns: int
    value: float


@dataclass(slots=True)
class Timeline:
    """All that was recorded of one VM."""

    vm: str
    recorded: int
    """Events in it."""
    lost: int
    """Events before those, for which the ring was too small."""
    tracks: dict[int, Track] = field(default_factory=dict)
    slices: list[Slice] = field(default_factory=list)
    """In the order of their start."""
    samples: list[CounterSample] = field(default_factory=list)

    def of(self, category: Category) -> Iterable[Slice]:
        """The slices of one category, in order."""
        return (one for one in self.slices if one.category is category)

    @property
    def start_ns(self) -> int:
        """Where it begins; 0 when it is empty."""
        return min((one.start_ns for one in self.slices), default=0)

    @property
    def end_ns(self) -> int:
        """Where it ends."""
        return max((one.end_ns for one in self.slices), default=0)
