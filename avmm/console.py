"""The VM's console: bytes from serial devices to the host, and back to one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from avmm.lock import DeviceLock

_PIECE: Final = 1 << 12
"""Bytes offered to the device at once."""


class Console:
    """Joins serial devices to the host. All may write; what is typed goes to the one that asked for it last.

    Nobody types faster than the guest reads: input waits here until a device listens and has room, up to `LIMIT` bytes. What is
    beyond that is for whoever types to keep.
    """

    __slots__ = ("_lock", "_on_resize", "_output", "_receiver", "_waiting", "_wanting", "_watchers", "size")

    LIMIT: Final = 1 << 16
    """How many bytes of input wait for the guest at most."""

    def __init__(self, lock: DeviceLock, output: Callable[[bytes], object] | None = None) -> None:
        self._lock, self._output = lock, output
        self._receiver: Callable[[bytes], int | None] | None = None
        self._waiting = bytearray()
        self._wanting: list[Callable[[], object]] = []
        """Those to be told that there is room."""
        self._on_resize: Callable[[int, int], object] | None = None
        self.size: tuple[int, int] | None = None
        """The terminal's columns and rows, where they are known."""
        self._watchers: tuple[Callable[[bytes], object], ...] = ()

    # The guest's output.

    def write(self, data: bytes) -> None:
        """The guest wrote `data`. Called by the device with the device lock held, on any thread; must not block."""
        if self._output is not None:
            self._output(data)
        for watcher in self._watchers:
            watcher(data)

    def watch(self, watcher: Callable[[bytes], object]) -> Callable[[], None]:
        """Have `watcher` called with what the guest writes from now on, as `write` is; returns what ends that. Any thread."""
        with self._lock:
            self._watchers = (*self._watchers, watcher)

        def unwatch() -> None:
            with self._lock:
                self._watchers = tuple(one for one in self._watchers if one is not watcher)

        return unwatch

    # The guest's input, for the device.

    def on_input(self, receiver: Callable[[bytes], int | None]) -> None:
        """Have `receiver` called with what is typed, with the device lock held. It says how many bytes it took, from the front.

        None says that it took them all. Those it did not take are offered again after `deliver`, or with what is typed next.
        """
        with self._lock:
            self._receiver = receiver
            self.deliver()

    def deliver(self) -> None:
        """The device has room again, having refused bytes. Called with the device lock held."""
        waiting, receiver = self._waiting, self._receiver
        if receiver is None:
            return
        while waiting:
            piece = bytes(waiting[:_PIECE])
            taken = receiver(piece)
            if taken is None:
                taken = len(piece)
            del waiting[:taken]
            if taken < len(piece):
                break
        self._tell_of_room()

    def discard_input(self, receiver: Callable[[bytes], int | None]) -> None:
        """Forget what waits for `receiver`, whose device is reset. Called with the device lock held."""
        if self._receiver == receiver:
            self._waiting.clear()
            self._tell_of_room()

    # The guest's input, for the host.

    @property
    def room(self) -> int:
        """How many bytes `input` would take now at least."""
        return self.LIMIT - len(self._waiting)

    def input(self, data: bytes) -> int:
        """The host typed `data`; how many bytes of it were taken, from the front. Any thread.

        They are fewer when the guest does not read; `when_room` tells when it pays to try again.
        """
        taken = 0
        with self._lock:
            while piece := data[taken : taken + self.room]:
                self._waiting += piece
                taken += len(piece)
                self.deliver()
        return taken

    def when_room(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `callback` called once, when half of `LIMIT` is free, or now if it is. Returns what calls that off. Any thread.

        It is called on any thread, with the device lock held, and must neither block nor type.
        """
        with self._lock:
            self._wanting.append(callback)
            self._tell_of_room()

        def call_off() -> None:
            with self._lock:
                self._wanting = [one for one in self._wanting if one is not callback]

        return call_off

    def _tell_of_room(self) -> None:
        if self._wanting and len(self._waiting) <= self.LIMIT // 2:
            wanting, self._wanting = self._wanting, []
            for callback in wanting:
                callback()

    # The terminal's size.

    def on_resize(self, receiver: Callable[[int, int], object]) -> None:
        """Have `receiver` called with the terminal's columns and rows, now if they are known, with the device lock held."""
        self._on_resize = receiver
        if self.size is not None:
            self.resize(*self.size)

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has this size now, 0 to 65535 each. Any thread."""
        with self._lock:
            self.size = columns, rows
            if self._on_resize is not None:
                self._on_resize(columns, rows)
