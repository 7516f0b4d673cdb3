"""A terminal is raw for the length of a `with`, and then what it was."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator

import pytest

from avmm.cli.terminal import RawTerminal


@pytest.fixture
def terminal() -> Iterator[int]:
    other_end, fd = os.openpty()
    yield fd
    os.close(fd)
    os.close(other_end)


def test_every_key_is_the_guests(terminal: int) -> None:
    with RawTerminal(terminal) as raw:
        assert raw.raw
        assert raw.fd == terminal
        iflag, oflag, _, lflag, *_ = termios.tcgetattr(terminal)
        assert not lflag & (termios.ISIG | termios.ICANON | termios.ECHO | termios.IEXTEN)
        assert not iflag & (termios.IXON | termios.ICRNL)
        assert oflag & termios.OPOST


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_the_terminal_is_restored_whatever_ends_it(terminal: int, error: type[BaseException] | None) -> None:
    before = termios.tcgetattr(terminal)

    def use() -> None:
        with RawTerminal(terminal):
            assert termios.tcgetattr(terminal) != before
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    assert termios.tcgetattr(terminal) == before


def test_a_terminal_that_went_away_needs_no_restoring() -> None:
    other_end, fd = os.openpty()
    with RawTerminal(fd) as raw:
        assert raw.raw
        os.close(other_end)
        os.close(fd)


def test_what_is_no_terminal_is_left_alone() -> None:
    read_end, write_end = os.pipe()
    with RawTerminal(read_end) as raw:
        assert not raw.raw
        assert raw.fd == read_end
    os.close(read_end)
    os.close(write_end)


def test_nothing_to_read_from() -> None:
    with RawTerminal(None) as raw:
        assert not raw.raw
        assert raw.fd is None


def test_a_terminal_of_another_job_is_left_alone(terminal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = termios.tcgetattr(terminal)
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() + 1)
    with RawTerminal(terminal) as raw:
        assert (raw.raw, raw.fd) == (False, None)
        assert termios.tcgetattr(terminal) == before
