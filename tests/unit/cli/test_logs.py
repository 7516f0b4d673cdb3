"""Events as standard error shows them."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from avmm import log
from avmm.cli import logs


class Terminal(io.StringIO):
    """Standard error with a person in front of it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    log.configure_when_needed(lambda: None)
    logging.getLogger(log.LOGGER).setLevel(logging.NOTSET)


def test_a_line_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    log.get_logger(vm="vm0").info("vm started", cpus=2, detail='say "hi"', ready=True)
    line = capsys.readouterr().err
    assert re.fullmatch(
        r'timestamp=\d\d:\d\d:\d\d\.\d{6} level=info event="vm started" vm=vm0 cpus=2 detail="say \\"hi\\"" ready=true\n', line
    )


def test_people_see_colours_and_a_guest_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    logs.configure("info")
    log.get_logger(vm="vm0").warning("guest fault", detail="\x1b[41m")
    assert "\x1b[" in terminal.getvalue()
    assert "\x1b[41m" not in terminal.getvalue()


@pytest.mark.parametrize(("level", "told"), [("warning", ""), ("info", "guest crashed")])
def test_what_the_command_ends_with_is_not_told_twice(level: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level)
    log.get_logger().error("guest crashed")
    assert told in (said := capsys.readouterr().err)
    assert bool(told) is bool(said)


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning")
    logger = log.get_logger()
    for tell in (logger.debug, logger.info, logger.warning, logger.error):
        tell("x")
    assert re.findall("level=([a-z]+)", capsys.readouterr().err) == ["warning", "error"]


def test_structlog_is_configured_for_the_first_event_that_is_heard() -> None:
    logs.configure("warning")
    log.get_logger().info("vm started")
    assert not structlog.is_configured()
    log.get_logger().warning("guest fault")
    assert structlog.is_configured()


def test_or_at_once_where_there_will_be_events() -> None:
    logs.configure("info")
    assert structlog.is_configured()


def test_nobody_reads_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    logs.configure("warning")
    monkeypatch.setattr("sys.stderr", None)
    log.get_logger().warning("guest fault")
