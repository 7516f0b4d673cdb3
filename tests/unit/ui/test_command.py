"""`avmm run --ui`: the address is printed, and a mistake is one line."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

GUEST = Path(__file__).parents[3] / "examples/guests/images/smp.img"


def avmm(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "avmm.cli", "run", "--kernel", str(GUEST), "--memory", "64M", *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def test_the_address_is_printed_and_the_page_is_there() -> None:
    with avmm("--append", "seconds=600", "--ui", "127.0.0.1:0") as running:
        assert running.stderr is not None
        try:
            line = running.stderr.readline()
            found = re.fullmatch(r"avmm: web page at (http://127\.0\.0\.1:[0-9]+/)#token=\S{32}\n", line)
            assert found is not None, line
            with urllib.request.urlopen(found[1], timeout=60) as answer:
                assert b"<title>avmm</title>" in answer.read()
        finally:
            running.terminate()


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with avmm("--ui", place) as running:
            _, errors = running.communicate(timeout=60)
    assert errors == f"avmm: --ui: ui: cannot listen at {place}: Address already in use\n"
    assert running.returncode == 1


@pytest.mark.parametrize("place", ["8080", "localhost:port", "127.0.0.1:65536"])
def test_what_is_no_address_is_one_line(place: str) -> None:
    with avmm("--ui", place) as running:
        _, errors = running.communicate(timeout=60)
    assert re.fullmatch(rf"avmm: --ui: ui: '{re.escape(place)}' is not HOST:PORT or :PORT with a port from 0 to 65535\n", errors)
    assert running.returncode == 1
