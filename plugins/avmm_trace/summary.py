"""What a timeline comes to, in a few lines of text or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from avmm.plugin import VcpuMode
from avmm_trace.timeline import Category, Slice, Timeline


@dataclass(frozen=True, slots=True)
class Extreme:
    """The longest of its kind."""

    length_ns: int
    track: str
    """Whose it is."""
    at_ns: int
    """When it began, from the start of the timeline."""
    cause: str = ""
    """Who or what brought it about, where that is known."""


@dataclass(frozen=True, slots=True)
class VcpuTimes:
    """Where one vCPU spent its time, in nanoseconds."""

    name: str
    guest_ns: int
    halted_ns: int
    off_ns: int
    exits: int
    halts: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A timeline in figures."""

    vm: str
    length_ns: int
    recorded: int
    lost: int
    vcpus: tuple[VcpuTimes, ...]
    exits: dict[str, int]
    """By reason."""
    kicks: dict[str, int]
    """By what they came to."""
    requests: dict[str, int]
    """Requests handled, by name."""
    longest_kick_to_exit: Extreme | None
    longest_halt: Extreme | None

    @classmethod
    def of(cls, timeline: Timeline) -> Summary:
        """The figures of `timeline`."""
        exiting = (one for one in timeline.of(Category.MODE) if one.name == VcpuMode.EXITING_GUEST_MODE.name)
        halts = (one for one in timeline.of(Category.SLEEP) if one.name == "halted")
        return cls(
            timeline.vm,
            timeline.end_ns - timeline.start_ns,
            timeline.recorded,
            timeline.lost,
            tuple(_times(timeline)),
            _counts(one.name for one in timeline.of(Category.EXIT)),
            _counts(one.name.partition(" ")[0] for one in timeline.of(Category.KICK)),
            _counts(one.name for one in timeline.of(Category.HANDLER)),
            _longest(timeline, exiting, _kicks(timeline)),
            _longest(timeline, halts, {}),
        )

    def to_json(self) -> dict[str, object]:
        """All of it, for programs."""
        return asdict(self)

    def text(self) -> str:
        """All of it, for people."""
        lost = f", and {self.lost} before those are lost: the ring was too small" if self.lost else ""
        lines = [f"{self.vm}: {duration(self.length_ns)}, {self.recorded} events{lost}", ""]
        lines.append(f"{'':<10}{'in guest':>10}{'halted':>10}{'off':>10}{'exits':>10}{'halts':>10}")
        for one in self.vcpus:
            shares = (100 * part / max(1, self.length_ns) for part in (one.guest_ns, one.halted_ns, one.off_ns))
            lines.append(f"{one.name:<10}" + "".join(f"{share:>9.1f}%" for share in shares) + f"{one.exits:>10}{one.halts:>10}")
        lines.append("")
        for title, counts in (("exits", self.exits), ("kicks", self.kicks), ("requests handled", self.requests)):
            lines.append(f"{title}: {', '.join(f'{name} {count}' for name, count in counts.items()) or 'none'}")
        lines.append(f"longest from kick to exit: {_told(self.longest_kick_to_exit)}")
        lines.append(f"longest halt: {_told(self.longest_halt)}")
        return "\n".join(lines)


def _times(timeline: Timeline) -> Iterable[VcpuTimes]:
    for number, track in sorted(timeline.tracks.items()):
        own = [one for one in timeline.slices if one.track == number] if track.name.startswith("vCPU ") else []
        kinds = {one.category for one in own}
        if not kinds & {Category.GUEST, Category.SLEEP, Category.EXIT}:
            continue
        guest = sum(one.length_ns for one in own if one.category is Category.GUEST and one.name == "guest")
        halts = [one.length_ns for one in own if one.category is Category.SLEEP and one.name == "halted"]
        off = sum(one.length_ns for one in own if one.category is Category.SLEEP and one.name == "off")
        exits = sum(one.category is Category.EXIT for one in own)
        yield VcpuTimes(track.name, guest, sum(halts), off, exits, len(halts))


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _kicks(timeline: Timeline) -> dict[tuple[int, str], str]:
    """Who kicked, by the moment and the vCPU that was kicked."""
    return {(one.start_ns, one.name.partition(" to ")[2]): timeline.tracks[one.track].name for one in timeline.of(Category.KICK)}


def _longest(timeline: Timeline, slices: Iterable[Slice], causes: dict[tuple[int, str], str]) -> Extreme | None:
    one = max(slices, key=lambda one: one.length_ns, default=None)
    if one is None:
        return None
    track = timeline.tracks[one.track]
    name = timeline.tracks[track.parent].name if track.parent else track.name
    cause = causes.get((one.start_ns, name), "")
    return Extreme(one.length_ns, name, one.start_ns - timeline.start_ns, cause and f"kicked by {cause}")


def _told(extreme: Extreme | None) -> str:
    if extreme is None:
        return "none"
    cause = f", {extreme.cause}" if extreme.cause else ""
    return f"{duration(extreme.length_ns)} ({extreme.track} at {extreme.at_ns / 1e9:.6f} s{cause})"


def duration(ns: float) -> str:
    """A duration as people read it."""
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= scale:
            return f"{ns / scale:.3f} {unit}"
    return f"{ns:.0f} ns"
