"""A table that keeps its place while its rows change and move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rich.text import Text
from textual.widgets import DataTable

from avmm_control.top.columns import Column

T = TypeVar("T")


class RatesTable(DataTable[object], Generic[T]):
    """Rows of rates, sorted by one of their columns."""

    def __init__(self, columns: Sequence[Column[T]], key: Callable[[T], str], *, id: str) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=True, cell_padding=0)
        self._columns, self._key = columns, key
        self._rows: list[T] = []
        self.sorted_by, self.descending = 0, False

    def on_mount(self) -> None:
        """The heads of the columns."""
        for column in self._columns:
            self.add_column(Text(column.title()), width=column.width + 1)

    def show(self, rows: Sequence[T]) -> None:
        """Show these rows; the cursor stays on the one it is on."""
        chosen = self.chosen
        column = self._columns[self.sorted_by]
        self._rows = sorted(rows, key=column.sort, reverse=self.descending)
        self.clear()
        for row in self._rows:
            self.add_row(*(Text(one.cell(row)) for one in self._columns), key=self._key(row))
        if chosen is not None:
            keys = [self._key(row) for row in self._rows]
            if self._key(chosen) in keys:
                self.move_cursor(row=keys.index(self._key(chosen)))

    @property
    def chosen(self) -> T | None:
        """The row under the cursor."""
        return self._rows[self.cursor_row] if 0 <= self.cursor_row < len(self._rows) else None

    def sort_by(self, column: int) -> None:
        """Sort by a column: numbers the largest first, words by the alphabet; by the same one again, the other way round."""
        if column == self.sorted_by:
            self.descending = not self.descending
        else:
            self.sorted_by = column
            self.descending = not self._columns[column].words
        self.show(self._rows)

    def sort_by_next(self) -> None:
        """Sort by the column behind the one that it is sorted by."""
        self.sort_by((self.sorted_by + 1) % len(self._columns))

    def describe_sorting(self) -> str:
        """By what it is sorted, in a word."""
        return f"{self._columns[self.sorted_by].head} {'▼' if self.descending else '▲'}"
