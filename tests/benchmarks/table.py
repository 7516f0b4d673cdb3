"""One table for all figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A figure, and what it is held against."""

    what: str
    measured: str
    against: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    spread: tuple[float, float] | None = None
    """The least and the greatest of the ratios, where `ratio` is a median."""

    @property
    def ratios(self) -> str:
        """The ratio, and its spread where there is one."""
        if self.ratio is None:
            return ""
        return f"{self.ratio:.2f}" + (f" ({self.spread[0]:.2f} to {self.spread[1]:.2f})" if self.spread else "")


def at_most(what: str, measured: float, peer: float, limit: float, unit: str, peer_name: str, digits: int = 2) -> Row:
    """A figure that may be at most `limit` times its peer's."""
    ratio = measured / peer
    against = f"{peer_name} {peer:.{digits}f} {unit}"
    return Row(what, f"{measured:.{digits}f} {unit}", against, ratio, f"at most {limit:g}", ratio <= limit)


def at_least(what: str, measured: float, peer: float, limit: float, unit: str, peer_name: str, digits: int = 0) -> Row:
    """A figure that should be at least `limit` times its peer's."""
    ratio = measured / peer
    against = f"{peer_name} {peer:,.{digits}f} {unit}"
    return Row(what, f"{measured:,.{digits}f} {unit}", against, ratio, f"at least {limit:g}", ratio >= limit)


def render(rows: list[Row]) -> str:
    """The rows as a table of plain text."""
    head = ("what", "measured", "against", "ratio", "goal", "")
    cells = [head] + [
        (
            row.what,
            row.measured,
            row.against,
            row.ratios,
            row.goal,
            "" if row.met is None else "met" if row.met else "MISSED",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
