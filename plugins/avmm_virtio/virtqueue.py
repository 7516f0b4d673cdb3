"""A virtqueue as a device model uses it: nothing raises, everything is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from avmm.plugin import GuestMemory
from avmm_virtio.chain import Chain
from avmm_virtio.queue import QueueError, SplitQueue


class QueueStats:
    """What one queue counts since the machine was made. Written with the device lock held, read by anybody."""

    def __init__(self) -> None:
        self.notifications = 0
        """Times the driver notified the device (writes to QueueNotify)."""
        self.chains = 0
        """Chains taken."""
        self.used = 0
        """Chains given back."""
        self.abandoned = 0
        """Chains that were out when the queue was reset."""
        self.interrupts = 0
        """Interrupts for used buffers."""
        self.bytes_read = 0
        """Bytes that the device took from the driver's buffers."""
        self.bytes_written = 0
        """Bytes that the device put into them."""

    @property
    def depth(self) -> int:
        """Chains that are out now."""
        return self.chains - self.used - self.abandoned


class QueueHost(Protocol):
    """The device that a queue belongs to."""

    def broken(self, detail: str) -> None:
        """The driver broke a rule."""

    @property
    def may_serve(self) -> bool:
        """False while no buffer may be used: before DRIVER_OK (2.1.2)."""

    def used_buffer(self) -> None:
        """Interrupt the driver."""

    def serve_later(self) -> None:
        """There may be more chains than were taken at once."""


class Virtqueue:
    """One queue of a device. Owner: the device lock, which every caller holds.

    A driver that breaks a rule stops the whole device (DEVICE_NEEDS_RESET): from then on, as before the queue is set up,
    `pop` is None and `push` does nothing.
    """

    __slots__ = ("_host", "index", "split", "stats")

    def __init__(self, index: int, memory: GuestMemory, maximum: int, host: QueueHost) -> None:
        self.index, self.split, self.stats = index, SplitQueue(memory, maximum), QueueStats()
        self._host = host

    @property
    def ready(self) -> bool:
        """True while the driver has set the queue up."""
        return self.split.ready

    def pop(self) -> Chain | None:
        """Take the next available chain, or None: then the driver will notify of the next one."""
        if not self._host.may_serve:
            return None  # all queues are looked at when that changes
        try:
            chain = self.split.pop()
        except (QueueError, ValueError) as error:  # ValueError: the memory behind a ring was taken out
            self._host.broken(f"queue {self.index}: {error}")
            return None
        if chain is not None:
            self.stats.chains += 1
        return chain

    def chains(self) -> Iterator[Chain]:
        """The available chains: the way to serve a notification.

        No more than the queue holds, so that a driver on another vCPU cannot keep the caller here: the rest gets a `notify` of
        its own, from the event loop. Leave the loop early to have the others wait; then it is you who comes back for them.
        """
        for _ in range(self.split.size):
            chain = self.pop()
            if chain is None:
                return
            yield chain
        self._host.serve_later()

    def is_current(self, chain: Chain) -> bool:
        """False once the queue was reset since it gave `chain` out: the guest's memory is not the device's any more."""
        return self.split.is_current(chain)

    def push(self, chain: Chain, written: int = 0, *, read: int = 0) -> None:
        """Give `chain` back with `written` bytes written; `read` bytes were taken from it. Nothing if it is not current.

        The driver sees it at once; it is interrupted, if it wants to be, by the next `signal`.
        """
        if not self.split.is_current(chain):
            return
        stats = self.stats
        stats.used += 1
        stats.bytes_read += read
        stats.bytes_written += written
        try:
            self.split.push(chain, written)
        except ValueError as error:
            self._host.broken(f"queue {self.index}: {error}")

    def push_all(self, chains: Sequence[tuple[Chain, int]]) -> None:
        """Give `chains` back, each with the bytes written to it; the driver sees all at once. Nothing if one is not current."""
        if not all(self.split.is_current(chain) for chain, _ in chains):
            return
        stats = self.stats
        stats.used += len(chains)
        stats.bytes_written += sum(written for _, written in chains)
        try:
            self.split.push_all(chains)
        except ValueError as error:
            self._host.broken(f"queue {self.index}: {error}")

    def signal(self) -> None:
        """Interrupt the driver if it wants that for what was given back since the last `signal`: once a batch, after `push`."""
        try:
            wanted = self.split.wants_interrupt()
        except ValueError as error:
            self._host.broken(f"queue {self.index}: {error}")
            return
        if wanted:
            self.stats.interrupts += 1
            self._host.used_buffer()

    def enable(self) -> bool:
        """The driver has set it up; False when it cannot be used, and the device is stopped."""
        try:
            self.split.enable()
        except QueueError as error:
            self._host.broken(f"queue {self.index}: {error}")
        return self.split.ready

    def reset(self) -> None:
        """The driver, or the machine, takes it back: no chain that is out is current any more."""
        self.split.reset()
        self.stats.abandoned += self.stats.depth
