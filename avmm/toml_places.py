"""Where the keys of a TOML document stand: line numbers, which tomllib does not keep."""

from __future__ import annotations

import tomllib

_SPACE = " \t\r\n"
_BARE_VALUE_END = ",]}#\r\n"


def key_lines(text: str) -> dict[str, int]:
    """The 1-based line of every key, table and array element in `text`, by dotted key (`devices.uart0.base`, `list.0`).

    A table stands where it is first named. `text` must be valid TOML 1.0: for anything else the answer means nothing.
    """
    return _Scanner(text).document()


class _Scanner:
    """One pass over a valid document: it follows strings, arrays and inline tables only far enough to see where they end."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1
        self._lines: dict[str, int] = {}
        self._array_lengths: dict[str, int] = {}

    def document(self) -> dict[str, int]:
        table = ""
        while self._skip_blank():
            if self._peek() == "[":
                table = self._header()
            else:
                self._key_value(table)
        return self._lines

    def _header(self) -> str:
        """A line `[a.b]` or `[[a.b]]`: the dotted key that the keys below it belong to."""
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._advance(brackets)
        *parents, last = self._dotted_key()
        self._advance_to("]")
        self._advance(brackets)
        path = ""
        for part in parents:
            path = self._element(self._record(path, part))
        path = self._record(path, last)
        if brackets == 2:
            self._array_lengths[path] = self._array_lengths.get(path, 0) + 1
            path = self._record(path, str(self._array_lengths[path] - 1))
        return path

    def _element(self, path: str) -> str:
        """`path`, or its last element so far when it is an array of tables."""
        length = self._array_lengths.get(path)
        return path if length is None else f"{path}.{length - 1}"

    def _key_value(self, table: str) -> None:
        path = table
        for part in self._dotted_key():
            path = self._record(path, part)
        self._advance_to("=")
        self._advance(1)
        self._skip_blank()
        self._value(path)

    def _record(self, table: str, key: str) -> str:
        path = f"{table}.{key}" if table else key
        self._lines.setdefault(path, self._line)
        return path

    def _dotted_key(self) -> list[str]:
        parts = []
        while True:
            self._skip_spaces()
            start = self._at
            if self._peek() in "\"'":
                self._string()
                # A quoted key may hold escapes; tomllib knows them all.
                parts.append(next(iter(tomllib.loads(self._text[start : self._at] + "=0"))))
            else:
                while self._peek().isalnum() or self._peek() in ("-", "_"):
                    self._advance(1)
                parts.append(self._text[start : self._at])
            self._skip_spaces()
            if self._peek() != ".":
                return parts
            self._advance(1)

    def _value(self, path: str) -> None:
        match self._peek():
            case '"' | "'":
                self._string()
            case "[":
                self._advance(1)
                index = 0
                while self._more("]"):
                    self._value(self._record(path, str(index)))
                    index += 1
            case "{":
                self._advance(1)
                while self._more("}"):
                    self._key_value(path)
            case _:
                while self._peek() and self._peek() not in _BARE_VALUE_END:
                    self._advance(1)

    def _more(self, closing: str) -> bool:
        """Step over blanks and commas to the next element; False behind the closing bracket."""
        while self._skip_blank() and self._peek() == ",":
            self._advance(1)
        if self._peek() in ("", closing):
            self._advance(1)
            return False
        return True

    def _string(self) -> None:
        quote = self._peek()
        if self._text.startswith(quote * 3, self._at):
            self._advance(3)
            while self._peek() and not self._text.startswith(quote * 3, self._at):
                self._advance(2 if quote == '"' and self._peek() == "\\" else 1)
            # Up to two quotes may stand right before the closing three.
            while self._peek() == quote:
                self._advance(1)
        else:
            self._advance(1)
            while self._peek() not in ("", quote):
                self._advance(2 if quote == '"' and self._peek() == "\\" else 1)
            self._advance(1)

    def _skip_blank(self) -> bool:
        """Step over white space, line ends and comments; False at the end of the document."""
        while self._peek() and self._peek() in _SPACE + "#":
            if self._peek() == "#":
                self._advance_to("\n")
            else:
                self._advance(1)
        return bool(self._peek())

    def _skip_spaces(self) -> None:
        while self._peek() and self._peek() in " \t":
            self._advance(1)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _advance_to(self, character: str) -> None:
        while self._peek() not in ("", character):
            self._advance(1)

    def _advance(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count
