"""The host's side of a network device: where the guest's frames go, and where those for the guest come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

MIN_FRAME: Final = 14
"""The smallest Ethernet frame: two addresses and a type, in bytes."""
MAX_FRAME: Final = 65535 + 14
"""The largest: the largest MTU that a virtio network device can have (virtio 1.1, 5.1.4) and the Ethernet header."""

Frame = bytes | bytearray | memoryview
"""An Ethernet frame without its checksum, MIN_FRAME to MAX_FRAME bytes."""


class Receiver(Protocol):
    """The network device as its backend sees it. Every call on the event loop's thread; none waits."""

    def receive(self, frames: Sequence[Frame]) -> int:
        """Frames for the guest, in order; how many of them it took, from the front.

        The others are the backend's to keep or to drop. It may offer them again after `Netdev.resume`. The frames' bytes are
        not looked at after the call.
        """

    def writable(self) -> None:
        """`Netdev.send` takes frames again, having refused some."""

    def carrier(self, *, up: bool) -> None:
        """The link comes up (somebody is at the other end) or goes down."""


class Netdev(ABC):
    """A backend of one network device. Every call but `send_at_once` on the event loop's thread; none but `run` waits."""

    mtu: int | None = None
    """The MTU that suits this backend, 68 to 65535 bytes; None for the guest's own choice."""
    sends_at_once: bool = False
    """It has `send_at_once`."""

    def __init__(self) -> None:
        self._receiver: Receiver = _NOBODY

    def connect(self, receiver: Receiver) -> None:
        """Frames for the guest go to `receiver` from now on. Once, before `run`."""
        self._receiver = receiver

    @abstractmethod
    async def run(self) -> None:
        """Live beside the machine until cancelled. The carrier is down before, and is brought up from in here."""

    @abstractmethod
    def send(self, frames: Sequence[bytes]) -> int:
        """Frames from the guest, in order; how many were taken, from the front.

        When they are fewer, `Receiver.writable` is called once it pays to try again. While the carrier is down frames are taken
        and dropped, as an interface without a cable does.
        """

    def send_at_once(self, frames: Sequence[bytes]) -> int:
        """As `send`, on whatever thread the driver notifies: what cannot be sent here and now is left, and comes with `send`.

        Never at the same time as `send`. The device lock is held.
        """
        return 0

    def resume(self) -> None:
        """The receiver has room again, having refused frames."""


class _Nobody:
    """The receiver of a backend that is not connected."""

    def receive(self, frames: Sequence[Frame]) -> int:
        return len(frames)

    def writable(self) -> None:
        pass

    def carrier(self, *, up: bool) -> None:
        pass


_NOBODY = _Nobody()


class NoNetdev(Netdev):
    """No cable: the carrier never comes."""

    async def run(self) -> None:
        pass

    def send(self, frames: Sequence[bytes]) -> int:
        return len(frames)
