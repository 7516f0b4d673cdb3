"""A mistake that one could make with a rule: a small change of the source, with the tests that are to notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
