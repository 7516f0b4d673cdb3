"""Ctrl-A and what follows it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.cli.escape import HELP, Command, EscapeFilter


@pytest.mark.parametrize(
    ("typed", "actions"),
    [
        (b"ls\r", [b"ls\r"]),
        (b"\x03", [b"\x03"]),
        (b"\x01x", [Command.QUIT]),
        (b"\x01X", [Command.QUIT]),
        (b"a\x01hb", [b"a", Command.HELP, b"b"]),
        (b"\x01p", [Command.POWER_BUTTON]),
        (b"\x01s\x01s", [Command.STATISTICS, Command.STATISTICS]),
        (b"\x01\x01", [b"\x01"]),
        (b"a\x01\x01x", [b"a\x01x"]),
        (b"a\x01zb", [b"ab"]),
        (b"\x01", []),
    ],
)
def test_commands_are_taken_out_of_what_is_typed(typed: bytes, actions: list[bytes | Command]) -> None:
    assert EscapeFilter().feed(typed) == actions


@given(st.text("\x01hxpsqa", max_size=12).map(str.encode), st.integers(0, 12))
def test_it_does_not_matter_how_typing_is_cut_into_reads(typed: bytes, cut: int) -> None:
    whole, parts = EscapeFilter(), EscapeFilter()
    assert _merged(whole.feed(typed)) == _merged(parts.feed(typed[:cut]) + parts.feed(typed[cut:]))


def _merged(actions: list[bytes | Command]) -> list[bytes | Command]:
    """One byte or command each."""
    return [one for action in actions for one in ([action] if isinstance(action, Command) else [bytes((b,)) for b in action])]


def test_the_help_names_every_command() -> None:
    assert [line.split()[:2] for line in HELP.splitlines()] == [
        ["Ctrl-A", "h"],
        ["Ctrl-A", "x"],
        ["Ctrl-A", "p"],
        ["Ctrl-A", "s"],
        ["Ctrl-A", "Ctrl-A"],
    ]
