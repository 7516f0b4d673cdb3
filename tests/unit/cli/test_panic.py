"""A panic of the guest's kernel, as the console tells of it."""

from __future__ import annotations

import pytest

from avmm.cli.panic import PanicWatch
from tests.unit.cli.command import Avmm

PANIC = b"[    1.234567] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n"
REASON = "Attempted to kill init! exitcode=0x00000100"


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_it_is_seen_however_the_text_is_cut(step: int) -> None:
    told: list[str] = []
    watch = PanicWatch(told.append)
    text = b"Kernel panic\n" + PANIC + b"CPU: 0\n"
    for at in range(0, len(text), step):
        watch(text[at : at + step])
    assert told == [REASON]
    assert watch.reason == REASON


def test_what_is_no_panic() -> None:
    watch = PanicWatch(pytest.fail)
    watch(b"Kernel panic\n" + PANIC.replace(b"not syncing: ", b"not\nsyncing: "))
    assert watch.reason is None


def test_control_characters_stay_in_the_guest() -> None:
    watch = PanicWatch(lambda reason: None)
    watch(PANIC.replace(b"init", b"\x1b[2J\xff"))
    assert watch.reason == r"Attempted to kill ?[2J\xff! exitcode=0x00000100"


def test_a_guest_that_panics_on_and_on_is_told_of_ever_more_rarely() -> None:
    told: list[str] = []
    watch = PanicWatch(told.append)
    watch(PANIC * 1000)
    assert len(told) == 4 + 7  # 1 to 4, then 8, 16, ... 512


def test_a_line_without_an_end_takes_no_more_memory_than_a_line() -> None:
    watch = PanicWatch(lambda reason: None)
    for _ in range(100):
        watch(b"x" * 1000)
    assert len(watch._line) == 4096


def test_a_panic_that_resets_the_machine_is_a_crash(avmm: Avmm) -> None:
    text = PANIC.decode().strip()
    done = avmm("run", avmm.guest([f"print {text}", "reset"]), "--on-reset", "exit")
    assert (done.returncode, done.stdout) == (3, f"{text}\n")
    assert done.stderr.splitlines() == [
        f"avmm: vm0: the guest's kernel panicked: {REASON}",
        f"avmm: vm0 ended: the guest's kernel panicked ({REASON}) and asked for a reset",
    ]


def test_a_guest_that_hangs_after_a_panic_is_told_of_too(avmm: Avmm) -> None:
    done = avmm("run", avmm.guest([f"print {PANIC.decode().strip()}", "off"]))
    assert (done.returncode, done.stderr) == (0, f"avmm: vm0: the guest's kernel panicked: {REASON}\n")


def test_a_reset_without_a_panic_is_none(avmm: Avmm) -> None:
    done = avmm("run", avmm.guest(["reset"]), "--on-reset", "exit")
    assert (done.returncode, done.stderr) == (4, "")
