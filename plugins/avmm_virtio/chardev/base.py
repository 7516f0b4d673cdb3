"""What a port of a console device is joined to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol


class PortReceiver(Protocol):
    """The port as its chardev sees it. None of these waits; on the event loop's thread, unless the chardev is `immediate`."""

    def receive(self, data: bytes) -> int:
        """Bytes for the guest; how many of them it took, from the front.

        The others are the chardev's to keep. It may offer them again after `Chardev.resume`.
        """

    def writable(self) -> None:
        """`Chardev.write` takes bytes again, having refused some."""

    def opened(self, *, up: bool) -> None:
        """Somebody is at the other end from now on, or nobody any more."""

    def resized(self, columns: int, rows: int) -> None:
        """The terminal at the other end has this size now."""


class Chardev(ABC):
    """The host's end of one port. Every call on the event loop's thread; none but `run` waits."""

    immediate = False
    """True when `write` and `resume` may be called on any thread, with the device lock held; then `write` takes everything, and
    the receiver is called with the device lock held."""
    always_open = False
    """True when somebody is always at the other end, without `opened` being called."""

    def __init__(self) -> None:
        self._receiver: PortReceiver = _NOBODY
        self.lost = 0
        """Bytes that were lost at the host's end."""

    def connect(self, receiver: PortReceiver) -> None:
        """Bytes for the guest go to `receiver` from now on. Once, before `run`."""
        self._receiver = receiver

    @abstractmethod
    async def run(self) -> None:
        """Live beside the machine until cancelled."""

    @abstractmethod
    def write(self, data: bytes) -> int:
        """Bytes from the guest; how many were taken, from the front.

        When they are fewer, `PortReceiver.writable` is called once it pays to try again. Nothing is written while nobody is at
        the other end.
        """

    def resume(self) -> None:
        """The receiver has room again, having refused bytes."""


class _Nobody:
    """The receiver of a chardev that is not connected."""

    def receive(self, data: bytes) -> int:
        return len(data)

    def writable(self) -> None:
        pass

    def opened(self, *, up: bool) -> None:
        pass

    def resized(self, columns: int, rows: int) -> None:
        pass


_NOBODY = _Nobody()


class OutputChardev(Chardev):
    """Gives what the guest writes to a function at once, and has nothing for the guest."""

    immediate = always_open = True

    def __init__(self, output: Callable[[bytes], object] = len) -> None:
        """`output` is called on any thread, with the device lock held, and must not block. By default it forgets."""
        super().__init__()
        self._output = output

    async def run(self) -> None:
        pass

    def write(self, data: bytes) -> int:
        self._output(data)
        return len(data)
