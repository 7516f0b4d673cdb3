"""The VM's console: bytes from serial devices to the host, and back to one of them."""

from __future__ import annotations

from collections.abc import Callable

from avmm.lock import DeviceLock


class Console:
    """Joins serial devices to the host. All may write; what is typed goes to the one that asked for it last.

    Input that arrives before a device listens is kept (up to 4096 bytes).
    """

    __slots__ = ("_early", "_lock", "_on_resize", "_output", "_receiver", "_watchers", "size")

    KEPT = 4096

    def __init__(self, lock: DeviceLock, output: Callable[[bytes], object] | None = None) -> None:
        self._lock, self._output = lock, output
        self._receiver: Callable[[bytes], object] | None = None
        self._early = b""
        self._on_resize: Callable[[int, int], object] | None = None
        self.size: tuple[int, int] | None = None
        """The terminal's columns and rows, where they are known."""
        self._watchers: tuple[Callable[[bytes], object], ...] = ()

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

    def on_input(self, receiver: Callable[[bytes], object]) -> None:
        """Have `receiver` called with what is typed, with the device lock held."""
        self._receiver = receiver
        early, self._early = self._early, b""
        if early:
            self.input(early)

    def input(self, data: bytes) -> None:
        """The host typed `data`. Any thread."""
        with self._lock:
            if self._receiver is not None:
                self._receiver(data)
            else:
                self._early = (self._early + data)[: self.KEPT]

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
