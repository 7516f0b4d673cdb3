"""The lines that `key_lines` finds, against documents written with known lines."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.toml_places import key_lines


def test_top_level_keys_tables_and_dotted_keys() -> None:
    text = "a = 1\n\n[t]  # a table\nb = 2\nc.d = 3\n[t.u.v]\ne = 4\n"
    assert key_lines(text) == {"a": 1, "t": 3, "t.b": 4, "t.c": 5, "t.c.d": 5, "t.u": 6, "t.u.v": 6, "t.u.v.e": 7}


def test_arrays_of_tables_are_numbered() -> None:
    text = "[[a]]\nx = 1\n[[a]]\nx = 2\n[a.b]\ny = 3\n[[a.c]]\nz = 4\n"
    lines = key_lines(text)
    assert (lines["a"], lines["a.0"], lines["a.0.x"]) == (1, 1, 2)
    assert (lines["a.1"], lines["a.1.x"], lines["a.1.b.y"], lines["a.1.c.0.z"]) == (3, 4, 6, 8)


def test_values_over_several_lines() -> None:
    text = 'a = [ # one\n  1,\n  "]", # two ]\n  [2,\n   3],\n]\nb = 1\n'
    assert key_lines(text) == {"a": 1, "a.0": 2, "a.1": 3, "a.2": 4, "a.2.0": 4, "a.2.1": 5, "b": 7}


def test_inline_tables() -> None:
    text = "a = { b = 1, c.d = [{ e = 2 },\n{ e = 3 }] }\nf = {}\ng = []\n"
    lines = key_lines(text)
    assert (lines["a.b"], lines["a.c.d"], lines["a.c.d.0.e"], lines["a.c.d.1.e"], lines["f"], lines["g"]) == (1, 1, 1, 2, 3, 4)


def test_strings_hide_what_they_hold() -> None:
    text = 'a = "# [x]\\" = "\nb = \'\\\'\nc = """\n[no]\n\\""""""\nd = \'\'\'\n\'no = 1\'\'\'\'\ne = 2\n'
    tomllib.loads(text)
    assert key_lines(text) == {"a": 1, "b": 2, "c": 3, "d": 6, "e": 8}


@pytest.mark.parametrize("string", ['""', "''", '""""""', "''''''", '"""\\""""', '"""""a"""', '"""\\\\"""', "'\\'"])
def test_the_end_of_a_string_is_seen(string: str) -> None:
    text = f"a = {string}\nb = 1\n"
    assert list(tomllib.loads(text)) == ["a", "b"]
    assert key_lines(text) == {"a": 1, "b": 2}


def test_quoted_keys_and_headers() -> None:
    text = '"a b" = 1\n[ "x]" . \'y\' ]\n"\\u0041" = 2\n'
    assert key_lines(text) == {"a b": 1, "x]": 2, "x].y": 2, "x].y.A": 3}


def test_dates_and_line_ends() -> None:
    text = "a = 1979-05-27 07:32:00\r\nb = 2\r\n# end"
    assert key_lines(text) == {"a": 1, "b": 2}


_KEYS = st.text("abcXYZ019_-", min_size=1, max_size=4)
_LEAVES = st.one_of(st.integers(-9, 9), st.booleans(), st.text("ab\"'\\#[]{}=,.\n é", max_size=8))
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=8
)


class _Writer:
    """Writes TOML and remembers on which line each key went."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: dict[str, int] = {}

    def document(self, table: dict[str, object], path: str = "") -> None:
        below = {key: value for key, value in table.items() if isinstance(value, dict)}
        for key, value in table.items():
            if key not in below:
                self.put(f"{path}.{key}" if path else key, key, value)
                self.text += "  # a = 1\n"
        for key, value in below.items():
            inner = f"{path}.{key}" if path else key
            self.mark(inner)
            self.text += "\n[" + ".".join(json.dumps(part) for part in inner.split(".")) + "]\n"
            self.lines[inner] += 1
            self.document(value, inner)

    def put(self, path: str, key: str, value: object) -> None:
        self.mark(path)
        self.text += f"{key} = "
        self.value(path, value)

    def value(self, path: str, value: object) -> None:
        if isinstance(value, dict):
            self.text += "{"
            for index, (key, inner) in enumerate(value.items()):
                self.text += ", " if index else " "
                self.put(f"{path}.{key}", key, inner)
            self.text += "}"
        elif isinstance(value, list):
            self.text += "[ # ]\n"
            for index, inner in enumerate(value):
                self.mark(f"{path}.{index}")
                self.value(f"{path}.{index}", inner)
                self.text += ",\n"
            self.text += "]"
        else:
            self.text += self.scalar(value)

    def scalar(self, value: object) -> str:
        if isinstance(value, str):
            if "\n" in value:
                return '"""\n' + value.replace("\\", "\\\\").replace('"', '\\"') + '"""'
            return json.dumps(value) if "'" in value else f"'{value}'"
        return str(value).lower()

    def mark(self, path: str) -> None:
        self.lines[path] = self.text.count("\n") + 1


@given(st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_every_key_of_a_written_document_is_found_on_its_line(document: dict[str, object]) -> None:
    writer = _Writer()
    writer.document(document)
    assert tomllib.loads(writer.text) == document
    assert key_lines(writer.text) == writer.lines


@given(st.text("ab=[]{}.,\"'\\#\n 12", max_size=40))
def test_any_text_that_is_toml_has_a_line_for_every_leaf(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = key_lines(text)
    assert set(_paths(document)) <= set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def _paths(value: object, path: str = "") -> Iterator[str]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        here = f"{path}.{key}" if path else str(key)
        yield here
        yield from _paths(inner, here)
