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
    assert console.input(b"x" * 3000) == 3000
    assert console.input(b"y" * Console.LIMIT) == Console.LIMIT - 3000
    assert (console.room, console.input(b"z")) == (0, 0)
    received: list[bytes] = []
    console.on_input(received.append)
    assert b"".join(received) == b"x" * 3000 + b"y" * (Console.LIMIT - 3000)
    assert console.room == Console.LIMIT
    before = len(received)
    console.on_input(received.append)
    assert len(received) == before


class Guest:
    """A device that takes as much as it is told to."""

    def __init__(self, console: Console, room: int = 0) -> None:
        self.console, self.room, self.got = console, room, b""
        console.on_input(self.receive)

    def receive(self, data: bytes) -> int:
        taken = data[: self.room]
        self.got += taken
        self.room -= len(taken)
        return len(taken)

    def read(self, count: int) -> None:
        self.room = count
        self.console.deliver()


def test_what_the_device_has_no_room_for_waits_in_order():
    console = Console(DeviceLock())
    guest = Guest(console, room=2)
    assert console.input(b"abcd") == 4
    assert guest.got == b"ab"
    assert console.input(b"ef") == 2
    guest.read(3)
    assert guest.got == b"abcde"
    guest.room = 10
    console.input(b"g")
    assert guest.got == b"abcdefg"


def test_more_than_the_bound_passes_a_device_that_reads():
    console = Console(DeviceLock())
    data = bytes(range(256)) * 1024
    guest = Guest(console, room=len(data))
    assert console.input(data) == len(data)
    assert guest.got == data


def test_room_is_told_of_once_when_half_is_free():
    console = Console(DeviceLock())
    guest = Guest(console)
    console.input(bytes(Console.LIMIT))
    told: list[str] = []
    console.when_room(lambda: told.append("one"))
    call_off = console.when_room(lambda: told.append("two"))
    guest.read(Console.LIMIT // 2 - 1)
    assert told == []
    call_off()
    guest.read(1)
    assert told == ["one"]
    guest.read(1)
    assert told == ["one"]
    console.when_room(lambda: told.append("at once"))
    assert told == ["one", "at once"]


def test_a_reset_of_the_device_that_listens_forgets_what_waits_for_it():
    console = Console(DeviceLock())
    guest = Guest(console)
    console.input(bytes(Console.LIMIT))
    told: list[bool] = []
    console.when_room(lambda: told.append(True))
    console.discard_input(len)
    assert (console.room, told) == (0, [])
    console.discard_input(guest.receive)
    assert (console.room, told) == (Console.LIMIT, [True])


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
