"""The guest's console never waits for whoever reads it, and nothing that fits is lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from avmm.cli.output import ConsoleOutput


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


def never() -> None:
    raise AssertionError("the reader is there")


def test_what_is_written_arrives_in_order(pipe: tuple[int, int]) -> None:
    output = ConsoleOutput(pipe[1], never)
    for number in range(1000):
        output.write(b"%d," % number)
    output.close()
    assert os.read(pipe[0], 10_000) == b"".join(b"%d," % number for number in range(1000))


def test_what_comes_shortly_after_a_write_is_written_together(pipe: tuple[int, int]) -> None:
    output = ConsoleOutput(pipe[1], never, rest_s=3600)
    output.write(b"a")
    assert os.read(pipe[0], 100) == b"a", "the first is not kept waiting"
    output.write(b"b")
    output.write(b"c")
    output.close()
    assert os.read(pipe[0], 100) == b"bc"


def test_it_knows_whether_a_line_has_ended(pipe: tuple[int, int]) -> None:
    output = ConsoleOutput(pipe[1], never)
    assert not output.mid_line
    output.write(b"login: ")
    assert output.mid_line
    output.write(b"\r\n")
    assert not output.mid_line
    output.close()


def test_what_does_not_fit_is_dropped_and_counted(pipe: tuple[int, int]) -> None:
    output = ConsoleOutput(pipe[1], never, limit=100)
    capacity = 0
    os.set_blocking(pipe[1], False)
    try:
        while True:
            capacity += os.write(pipe[1], bytes(4096))
    except BlockingIOError:
        os.set_blocking(pipe[1], True)
    # Nothing can be written now, and at most one chunk is in the writing thread's hands.
    for _ in range(1000):
        output.write(b"x" * 50)
    assert 50_000 - 3 * 100 - (1 << 16) <= output.dropped <= 50_000 - 100
    assert output.dropped > 0
    received = 0
    closer = threading.Thread(target=output.close)
    closer.start()
    while received < capacity + 50_000 - output.dropped:
        received += len(os.read(pipe[0], 1 << 16))
    closer.join()
    assert received == capacity + 50_000 - output.dropped


def test_a_reader_that_has_left_is_reported_once(pipe: tuple[int, int]) -> None:
    broken: list[str] = []
    output = ConsoleOutput(pipe[1], lambda: broken.append("broken"))
    os.close(pipe[0])
    output.write(b"x")
    output.close()
    output.write(b"y")
    assert broken == ["broken"]
    assert output.dropped == 0


def test_closing_does_not_wait_for_ever(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    try:
        while True:
            os.write(pipe[1], bytes(4096))
    except BlockingIOError:
        pass
    # A descriptor that somebody made non-blocking: the writer waits until there is room.
    output = ConsoleOutput(pipe[1], never)
    output.write(b"end")
    output.close(timeout_s=0)
    while (data := os.read(pipe[0], 1 << 16))[-3:] != b"end":
        assert data
    output.close()


def test_without_a_descriptor_all_is_dropped_silently() -> None:
    output = ConsoleOutput(None, never)
    output.write(b"x")
    output.close()
    assert output.dropped == 0
