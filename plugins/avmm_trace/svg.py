"""A timeline as a picture: a lane for each vCPU, what it did in colour, kicks as arrows between the lanes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from avmm_trace.summary import duration
from avmm_trace.timeline import Category, Slice, Timeline

WIDTH, LEFT, TOP, LANE, GAP = 1200, 110, 56, 34, 14
MAX_ARROWS = 200
"""More kicks than these would hide the lanes: of more, one in so many is drawn."""
_MIN_WIDTH = 0.5
"""Slices narrower than this, in pixels, are drawn together."""
_STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; color: #1d2430; }
text, .axis { fill: currentColor; } .axis { stroke: currentColor; stroke-opacity: .25; } .note { fill-opacity: .65; }
.lane { fill: currentColor; fill-opacity: .06; } .guest { fill: #2f8f5b; } .entering { fill: #d9a321; }
.halted { fill: #6d8fc7; fill-opacity: .55; } .off { fill: currentColor; fill-opacity: .18; } .exiting { fill: #c8452f; }
.arrow { stroke: #c8452f; stroke-opacity: .7; fill: none; } .head { fill: #c8452f; }
@media (prefers-color-scheme: dark) { svg { background: #12161d; color: #e4e8ef; } .guest { fill: #48b87c; } }
"""
_LEGEND = (
    ("guest", "in the guest"),
    ("entering", "entering"),
    ("halted", "halted"),
    ("off", "off or paused"),
    ("exiting", "kicked, on its way out"),
)


def draw(timeline: Timeline, start_ns: int = 0, end_ns: int | None = None) -> str:
    """`timeline` from `start_ns` to `end_ns` (of its own start; None: its end) as SVG. One picture holds any number of events."""
    first_ns = timeline.start_ns + start_ns
    last_ns = timeline.end_ns if end_ns is None else min(timeline.end_ns, timeline.start_ns + end_ns)
    picture = _Picture(timeline, first_ns, max(last_ns, first_ns + 1))
    height = TOP + (len(picture.lanes) or 1) * (LANE + GAP) + 16
    body = "\n".join(picture.elements())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{escape(timeline.vm)}: what its vCPUs did</title>\n<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )


class _Picture:
    def __init__(self, timeline: Timeline, first_ns: int, last_ns: int) -> None:
        self._timeline, self._first_ns, self._last_ns = timeline, first_ns, last_ns
        self._scale = (WIDTH - LEFT - 16) / (last_ns - first_ns)
        drawn = {one.track for one in timeline.slices if one.category in (Category.GUEST, Category.SLEEP)}
        actors = {one.track for one in timeline.of(Category.KICK)}
        self.lanes = {
            number: TOP + row * (LANE + GAP) for row, number in enumerate(sorted(drawn | actors & timeline.tracks.keys()))
        }
        """Top of each track's lane, in pixels."""
        self._by_name = {timeline.tracks[number].name: number for number in self.lanes}

    def elements(self) -> Iterator[str]:
        yield from self._legend()
        yield from self._axis()
        for number, y in self.lanes.items():
            yield f'<text x="8" y="{y + LANE / 2 + 4}">{escape(self._timeline.tracks[number].name)}</text>'
            yield f'<rect class="lane" x="{LEFT}" y="{y}" width="{WIDTH - LEFT - 16}" height="{LANE}"/>'
            own = [one for one in self._timeline.slices if one.track == number and self._visible(one)]
            for name in ("off", "halted", "entering", "guest"):
                yield from self._bars([one for one in own if one.name == name and one.length_ns], name, y + 4, LANE - 8)
            mode = (one for one in self._timeline.of(Category.MODE) if one.track == number + 1 and self._visible(one))
            yield from self._bars([one for one in mode if one.name == "EXITING_GUEST_MODE"], "exiting", y + LANE - 8, 8)
        yield from self._arrows()

    def _visible(self, one: Slice) -> bool:
        return one.end_ns >= self._first_ns and one.start_ns <= self._last_ns

    def _x(self, at_ns: int) -> float:
        return LEFT + (min(max(at_ns, self._first_ns), self._last_ns) - self._first_ns) * self._scale

    def _bars(self, slices: Iterable[Slice], style: str, y: float, height: float) -> Iterator[str]:
        """Slices of one kind, those that are too narrow or too close to be told apart as one."""
        start = end = -1.0
        number, longest_ns = 0, 0
        for one in slices:
            left, right = self._x(one.start_ns), self._x(one.end_ns)
            if number and left - end < _MIN_WIDTH and right - start < 2:
                end, number, longest_ns = max(end, right), number + 1, max(longest_ns, one.length_ns)
                continue
            if number:
                yield _bar(style, start, end, y, height, number, longest_ns)
            start, end, number, longest_ns = left, right, 1, one.length_ns
        if number:
            yield _bar(style, start, end, y, height, number, longest_ns)

    def _arrows(self) -> Iterator[str]:
        """Kicks that came to something, from who kicked to who was kicked."""
        kicks = [
            one
            for one in self._timeline.of(Category.KICK)
            if self._first_ns <= one.start_ns <= self._last_ns and one.name.partition(" ")[0] in ("IPI", "WAKEUP")
        ]
        step = max(1, -(-len(kicks) // MAX_ARROWS))
        for one in kicks[::step]:
            target = self._by_name.get(one.name.partition(" to ")[2])
            if target is None or target == one.track or one.track not in self.lanes:
                continue
            x, there, here = self._x(one.start_ns), self.lanes[target], self.lanes[one.track]
            start, end, head = (here + LANE, there - 2, -6) if there > here else (here, there + LANE + 2, 6)
            yield (
                f'<g><title>{escape(one.name)}</title><path class="arrow" d="M{x:.1f} {start}V{end}"/>'
                f'<path class="head" d="M{x:.1f} {end}l-3 {head}h6z"/></g>'
            )
        if step > 1:
            yield f'<text class="note" x="{WIDTH - 150}" y="21">one kick in {step} is drawn</text>'

    def _legend(self) -> Iterator[str]:
        x = LEFT
        for style, words in _LEGEND:
            yield f'<rect class="{style}" x="{x}" y="10" width="14" height="12"/><text x="{x + 20}" y="21">{words}</text>'
            x += 40 + 7 * len(words)

    def _axis(self) -> Iterator[str]:
        span = self._last_ns - self._first_ns
        step = 10 ** (len(str(span)) - 1)
        step = next(one for one in (step // 5 or 1, step // 2 or 1, step, 2 * step) if span / one <= 12)
        offset = self._first_ns - self._timeline.start_ns
        for at in range(-(-offset // step) * step, offset + span + 1, step):
            x = self._x(self._timeline.start_ns + at)
            yield f'<path class="axis" d="M{x:.1f} {TOP - 4}V{TOP + max(1, len(self.lanes)) * (LANE + GAP)}"/>'
            if x < WIDTH - 60:
                yield f'<text class="note" x="{x + 3:.1f}" y="{TOP - 8}">{_round(at)}</text>'


def _round(ns: int) -> str:
    number, unit = duration(ns).split(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def _bar(style: str, start: float, end: float, y: float, height: float, number: int, longest_ns: int) -> str:
    width = max(_MIN_WIDTH, end - start)
    told = f"{style} {duration(longest_ns)}" if number == 1 else f"{number} times {style}, at most {duration(longest_ns)}"
    return f'<rect class="{style}" x="{start:.1f}" y="{y}" width="{width:.1f}" height="{height}"><title>{told}</title></rect>'
