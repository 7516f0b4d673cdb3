"""The console: bytes out, bytes in, and what is typed before anybody listens."""

from __future__ import annotations

from avmm.console import Console
from avmm.lock import DeviceLock
from avmm.testing import in_thread


def test_what_the_guest_writes_reaches_the_host():
    written: list[bytes] = []
    console = Console(DeviceLock(), written.append)
    console.write(b"login: ")
    console.write(b"\xff")
    assert written == [b"login: ", b"\xff"]


def test_without_a_host_it_goes_nowhere():
    Console(DeviceLock()).write(b"hello")


def test_watchers_see_what_the_host_sees_until_they_have_enough():
    written: list[bytes] = []
    one: list[bytes] = []
    two: list[bytes] = []
    console = Console(DeviceLock(), written.append)
    console.write(b"before")
    enough = console.watch(one.append)
    console.watch(two.append)
    console.write(b"both")
    enough()
    enough()
    console.write(b"after")
    assert (written, one, two) == ([b"before", b"both", b"after"], [b"both"], [b"both", b"after"])


def test_input_reaches_the_receiver_with_the_device_lock_held():
    lock = DeviceLock()
    console = Console(lock)
    received: list[tuple[bytes, bool]] = []
    console.on_input(lambda data: received.append((data, lock._is_owned())))
    console.input(b"a")
    in_thread(lambda: console.input(b"bc"))
    assert received == [(b"a", True), (b"bc", True)]


def test_early_input_is_kept_up_to_a_bound_and_delivered_once():
    console = Console(DeviceLock())
    console.input(b"x" * 3000)
    console.input(b"y" * 3000)
    received: list[bytes] = []
    console.on_input(received.append)
    assert b"".join(received) == b"x" * 3000 + b"y" * 1096
    console.on_input(received.append)
    assert len(received) == 1


def test_the_terminals_size_is_told_now_and_whenever_it_changes():
    lock = DeviceLock()
    console = Console(lock)
    sizes: list[tuple[int, int, bool]] = []
    console.on_resize(lambda columns, rows: sizes.append((columns, rows, lock._is_owned())))
    assert sizes == []
    console.resize(80, 25)
    in_thread(lambda: console.resize(100, 30))
    console.on_resize(lambda columns, rows: sizes.append((columns, rows, lock._is_owned())))
    assert sizes == [(80, 25, True), (100, 30, True), (100, 30, True)]
