"""A stream socket as the host's end of a port: one peer at a time, who may come and go."""

from __future__ import annotations

import asyncio

from avmm.plugin import get_logger
from avmm_virtio.chardev.base import Chardev
from avmm_virtio.one_peer import OnePeer, PeerSource
from avmm_virtio.peer import Peer


class _Connection(Peer, asyncio.Protocol):
    """A peer that sends bytes. Those that the guest has no room for are kept, and no more are read."""

    def __init__(self, chardev: StreamChardev) -> None:
        super().__init__()
        self._chardev = chardev
        self._held = b""

    def made(self) -> None:
        self._chardev.connected(self)

    def gone(self) -> None:
        self._chardev.disconnected(self)

    def drained(self) -> None:
        self._chardev.drained(self)

    def data_received(self, data: bytes) -> None:
        # An event loop may deliver what it has read already after reading was paused.
        self._held += data
        self.deliver()

    def deliver(self) -> None:
        """Hand on what there is."""
        if self._held and self.open:
            self._held = self._held[self._chardev.received(self, self._held) :]
        self.read(wanted=not self._held)


class StreamChardev(OnePeer[_Connection], Chardev):
    """One peer at a time on a stream socket."""

    def __init__(self, name: str, source: PeerSource) -> None:
        """`name` is what the log calls it."""
        Chardev.__init__(self)
        OnePeer.__init__(self, source, get_logger(port=name))

    def make_connection(self) -> _Connection:
        return _Connection(self)

    def link_changed(self, *, up: bool) -> None:
        self._receiver.opened(up=up)

    def link_writable(self) -> None:
        self._receiver.writable()

    def write(self, data: bytes) -> int:
        peer = self._peer
        if peer is None or not peer.writable:
            return 0
        peer.write(data)
        return len(data)

    def resume(self) -> None:
        if self._peer is not None:
            self._peer.deliver()

    def received(self, peer: _Connection, data: bytes) -> int:
        """A peer sent bytes; how many the guest took."""
        return self._receiver.receive(data) if self._peer is peer else len(data)
