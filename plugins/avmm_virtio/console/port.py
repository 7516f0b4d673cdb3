"""One port of a console device (virtio 1.2, 5.3): two queues on the guest's side, a chardev on the host's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from avmm_virtio.chain import Chain
from avmm_virtio.chardev.base import Chardev
from avmm_virtio.virtqueue import Virtqueue

if TYPE_CHECKING:
    from avmm_virtio.console.device import VirtioConsole

CHUNK: Final = 1 << 16
"""Bytes taken from the guest at once."""
BATCH: Final = 16
"""Chunks, empty ones included, taken in one turn; then it is the turn of others."""


class Port:
    """A port. Owner: the device lock for what the driver sees; towards the chardev the event loop, or also the lock if it is
    `immediate`.

    Bytes that the guest has no buffer for stay with the chardev. Bytes that the chardev has no room for stay with the guest; a
    console port drops them, because drivers wait for it with the CPU in their hands.
    """

    def __init__(self, chardev: Chardev, *, name: str = "", hvc: bool = False) -> None:
        """`name` is what the guest may call it; with `hvc` it is a console there, /dev/hvc0 for example."""
        self.chardev, self.name, self.hvc = chardev, name, hvc
        self.id = -1
        """Its number, once it is a console device's."""
        self.host_open = chardev.always_open
        self.guest_open = False
        """As the driver said, where it knows of several ports."""
        self.added = self.ready = False
        """The driver was told of the port; it has answered that it can use it."""
        self.size: tuple[int, int] | None = None
        """Columns and rows of the terminal at the host's end."""
        self.pending = False
        """It waits for `serve`."""
        self._starved = False
        """The chardev has bytes for which there was no buffer."""
        self._chain: Chain | None = None
        self._offset = 0
        """The chain being sent, and how much of it was taken."""
        self._emergency = bytearray()
        self._unsent = b""
        """Bytes taken from the guest that the chardev has no room for yet."""
        self.transmitted = self.received = self.undelivered = self.slow = 0
        """Bytes: to the host and to the guest; dropped with nobody at the host's end, and with a host too slow for a console."""

    def attach(self, console: VirtioConsole, number: int) -> None:
        """Become port `number` of `console`."""
        self._console, self.id = console, number
        self._receive_queue = 0 if number == 0 else 2 * number + 2
        self.chardev.connect(self)

    # What the driver does, with the device lock held.

    def notify(self, queue: Virtqueue) -> None:
        """There is something in one of its queues."""
        if queue.index == self._receive_queue and not self._starved:
            return
        if self.chardev.immediate:
            self.serve()
        else:
            self._console.serve_later(self)

    def emergency(self, byte: int) -> None:
        """A character that does without queues (5.3.4)."""
        if len(self._emergency) < CHUNK:
            self._emergency.append(byte)
        if self.chardev.immediate:
            self.serve()
        else:
            self._console.serve_later(self)

    def queue_reset(self, queue: Virtqueue) -> None:
        """A queue, maybe one of its own, was reset."""
        if queue.index == self._receive_queue + 1:
            self._chain = None

    def reset(self) -> None:
        """The driver has gone, and knows of no port any more."""
        self._chain = None
        self.guest_open = self.added = self.ready = False

    # Towards the host.

    def serve(self) -> None:
        """Move what can be moved, both ways."""
        self.pending = False
        if self._starved:
            self._starved = False
            self.chardev.resume()
        self._transmit()

    def _transmit(self) -> None:
        for _ in range(BATCH):
            if not self._unsent:
                with self._console.device.lock:
                    taken = self._take()
                if taken is None:
                    return
                self._unsent = taken
            self._send()
            if self._unsent:
                return
        self._console.serve_later(self)

    def _take(self) -> bytes | None:
        """Bytes of the guest's, at most a chunk; None when there is nothing."""
        if self._emergency:
            data = bytes(self._emergency)
            self._emergency.clear()
            return data
        queue = self._console.device.queues[self._receive_queue + 1]
        if self._chain is None:
            if not self._console.may_take:
                return None
            self._chain, self._offset = queue.pop(), 0
            if self._chain is None:
                return None
        data = self._chain.read(self._offset, CHUNK)
        self._offset += len(data)
        if len(data) < CHUNK:
            queue.push(self._chain, read=self._offset)
            queue.signal()
            self._chain = None
        return data

    def _send(self) -> None:
        data = self._unsent
        if not self.host_open:
            self.undelivered += len(data)
            self._unsent = b""
            return
        taken = self.chardev.write(data)
        self.transmitted += taken
        self._unsent = data[taken:]
        if self._unsent and self.hvc:
            self.slow += len(self._unsent)
            self._unsent = b""

    def receive(self, data: bytes) -> int:
        view, taken = memoryview(data), 0
        with self._console.device.lock:
            queue = self._console.device.queues[self._receive_queue]
            for chain in queue.chains() if self._console.may_give(self) else ():
                written = chain.write(view[taken:])
                queue.push(chain, written)
                taken += written
                if taken == len(data):
                    break
            else:
                self._starved = True
            self.received += taken
            queue.signal()
        return taken

    def writable(self) -> None:
        self._console.serve_later(self)

    def opened(self, *, up: bool) -> None:
        with self._console.device.lock:
            self.host_open = up
            self._console.host_opened(self)
        self._console.serve_later(self)

    def resized(self, columns: int, rows: int) -> None:
        self.size = columns, rows
        self._console.resized(self)
