"""Events as standard error shows them."""

from __future__ import annotations

import logging

import pytest

from avmm.cli import logs
from avmm.log import Event


def record(event: object, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    message = Event(event, fields) if isinstance(event, str) else event
    made = logging.LogRecord("avmm", level, "", 0, message, (), None)
    made.created = 1.25
    return made


def line(made: logging.LogRecord) -> str:
    """For programs, without the time of day, which depends on where one is."""
    timestamp, _, rest = logs.logfmt(made).partition(" ")
    assert timestamp.startswith("timestamp=")
    assert timestamp.endswith(":01.250000")
    return rest


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("vm0", "vm0"),
        (2, "2"),
        (None, ""),
        (True, "true"),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("a\nb", r"a\nb"),
        ("a\\b", r"a\b"),
        ("a \\b", r'"a \\b"'),
    ],
)
def test_values_for_programs(value: object, written: str) -> None:
    assert line(record("it", detail=value)) == f"level=info event=it detail={written}"


def test_the_fields_are_in_the_order_they_were_given() -> None:
    assert line(record("vm started", vm="vm0", cpus=2)) == 'level=info event="vm started" vm=vm0 cpus=2'


def test_a_record_of_somebody_else_is_a_line_too() -> None:
    made = logging.LogRecord("avmm.other", logging.WARNING, "", 0, "%d lost", (3,), None)
    made.created = 1.25
    assert line(made) == 'level=warning event="3 lost"'


@pytest.mark.parametrize(("level", "colour"), [(logging.INFO, 32), (logging.WARNING, 33), (logging.ERROR, 31)])
def test_people_see_colours(level: int, colour: int) -> None:
    told = logs.coloured(record("vm started", level, vm="vm0", detail="a b"))
    name = logging.getLevelName(level).lower()
    assert told.endswith(
        f":01.250000\x1b[0m [\x1b[{colour}m\x1b[1m{name:<9}\x1b[0m] \x1b[1mvm started      \x1b[0m"
        " \x1b[36mdetail\x1b[0m=\x1b[35m'a b'\x1b[0m \x1b[36mvm\x1b[0m=\x1b[35mvm0\x1b[0m"
    )


def test_a_guest_cannot_colour_the_terminal() -> None:
    assert "\x1b[31m" not in logs.coloured(record("guest fault", detail="\x1b[31m"))
