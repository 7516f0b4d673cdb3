"""`avmm run` on a terminal: its keys are the guest's, Ctrl-A is ours, and it comes back as it was."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator

import pytest

from tests.unit.cli.command import PATIENCE_S, Avmm

Start = Callable[..., "Screen"]


class Screen:
    """Both sides of a terminal with `avmm run` on it."""

    def __init__(self, avmm: Avmm, commands: list[str], *options: str) -> None:
        self._keys, self._terminal = os.openpty()
        self.before = termios.tcgetattr(self._terminal)
        self.text = b""
        self.process = subprocess.Popen(
            avmm.argv("run", avmm.guest(commands), *options),
            cwd=avmm.folder,
            env=avmm.environment,
            stdin=self._terminal,
            stdout=self._terminal,
            stderr=self._terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def type(self, keys: bytes) -> None:
        os.write(self._keys, keys)

    def until(self, text: bytes) -> None:
        """Read the screen until `text` is on it."""
        while text not in self.text:
            assert select.select([self._keys], [], [], PATIENCE_S)[0], self.text
            self.text += os.read(self._keys, 4096)

    def end(self) -> tuple[int, bool]:
        """Wait for the end: the exit status, and whether the terminal is as it was."""
        ended = os.pidfd_open(self.process.pid)
        while ended not in (ready := select.select([self._keys, ended], [], [], PATIENCE_S)[0]):
            assert ready, self.text
            self.text += os.read(self._keys, 4096)
        os.close(ended)
        self.process.wait()
        while select.select([self._keys], [], [], 0)[0]:
            self.text += os.read(self._keys, 4096)
        return self.process.returncode, termios.tcgetattr(self._terminal) == self.before

    @property
    def is_raw(self) -> bool:
        lflag = termios.tcgetattr(self._terminal)[3]
        return not lflag & (termios.ICANON | termios.ECHO | termios.ISIG)

    def cook(self) -> None:
        """Put the terminal back as a shell does when its job has stopped."""
        termios.tcsetattr(self._terminal, termios.TCSANOW, self.before)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._keys)
        os.close(self._terminal)


@pytest.fixture
def start(avmm: Avmm) -> Iterator[Start]:
    screens: list[Screen] = []

    def make(*commands: str, options: tuple[str, ...] = ()) -> Screen:
        screens.append(Screen(avmm, ["print ready", *commands], *options))
        screens[-1].until(b"ready\r\n")
        return screens[-1]

    yield make
    for screen in screens:
        screen.close()


def test_every_key_reaches_the_guest_ctrl_c_too(start: Start) -> None:
    screen = start("echo", "off")
    assert screen.is_raw
    screen.type(b"a\x03\x1a\x04\x01\x01")
    screen.until(b"<61><03><1a><04><01>")
    screen.type(b"q")
    assert screen.end() == (0, True)


def test_ctrl_a_x_quits(start: Start) -> None:
    screen = start("spin")
    screen.type(b"\x01")
    screen.type(b"x")
    assert screen.end() == (0, True)


def test_ctrl_a_is_seen_behind_what_was_pasted_for_a_guest_that_never_reads(start: Start) -> None:
    screen = start("spin")
    for _ in range(100):
        screen.type(b"x" * 4000)
    screen.type(b"\x01h")
    screen.until(b"Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n")
    screen.type(b"\x01x")
    assert screen.end() == (0, True)


def test_ctrl_a_h_helps(start: Start) -> None:
    screen = start("spin")
    screen.type(b"\x01h")
    screen.until(b"Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n")
    screen.type(b"\x01x")
    assert screen.end() == (0, True)


def test_ctrl_a_p_presses_the_power_button(start: Start) -> None:
    screen = start("spin")
    screen.type(b"\x01p")
    screen.until(b"avmm: this machine has no power button: add the device pl061 (--device pl061)\r\n")
    screen.type(b"\x01x")
    assert screen.end() == (0, True)


def test_ctrl_a_s_shows_statistics(start: Start) -> None:
    screen = start("spin")
    screen.type(b"\x01s")
    screen.until(b"counts per second")
    screen.type(b"\x01x")
    assert screen.end() == (0, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_terminal_is_restored_after_a_signal(start: Start, number: signal.Signals, loop: str) -> None:
    screen = start("spin", options=("--loop", loop))
    screen.process.send_signal(number)
    assert screen.end() == (128 + number, True)


def test_the_terminal_is_raw_again_after_a_stop(start: Start) -> None:
    screen = start("echo", "off")
    screen.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, screen.process.pid, os.WSTOPPED)
    screen.cook()
    screen.process.send_signal(signal.SIGCONT)
    screen.type(b"a")
    screen.until(b"<61>")
    assert screen.is_raw
    screen.type(b"q")
    assert screen.end() == (0, True)


@pytest.mark.parametrize(("command", "code"), [("fault", 3), ("raise", 1), ("off", 0)])
def test_the_terminal_is_restored_whatever_the_guest_does(start: Start, command: str, code: int) -> None:
    assert start(command).end() == (code, True)


def test_our_own_lines_begin_at_the_left(start: Start) -> None:
    screen = start("echo", "off")
    screen.type(b"a")
    screen.until(b"<61>")
    screen.type(b"\x01h")
    screen.until(b"<61>\r\nCtrl-A h")
    screen.type(b"q")
    assert screen.end() == (0, True)
