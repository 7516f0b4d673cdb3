"""Network backends whose other end is a stream socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from avmm.plugin import get_logger
from avmm_virtio.frame_sender import FrameSender
from avmm_virtio.framing import FrameReader, FramingError, framed
from avmm_virtio.netdev import Netdev
from avmm_virtio.one_peer import OnePeer, PeerSource
from avmm_virtio.peer import Peer


class Connection(Peer, asyncio.BufferedProtocol):
    """One connection to a peer that sends frames."""

    write_limit = 1 << 20
    """Up to one batch of frames comes on top."""

    def __init__(self, netdev: StreamNetdev) -> None:
        super().__init__()
        self._netdev = netdev
        self._reader = FrameReader()

    def made(self) -> None:
        assert self._transport is not None
        self._sender = FrameSender(self._transport)
        self._netdev.connected(self)

    def gone(self) -> None:
        self._sender.close()
        self._netdev.disconnected(self)

    def drained(self) -> None:
        self._netdev.drained(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.filled(nbytes)
        self.deliver()

    def deliver(self) -> None:
        """Hand on every whole frame. What the receiver has no room for stays here, and nothing more is read."""
        if not self.open:
            return
        try:
            frames = self._reader.frames()
        except FramingError as error:
            self._netdev.malformed += 1
            self.close(str(error))
            return
        taken = self._netdev.received(frames)
        self._reader.consume(frames[:taken])
        self.read(wanted=taken == len(frames))

    def send(self, frames: Sequence[bytes]) -> None:
        """Frames for the peer."""
        self._sender.flush()
        self.write(framed(frames))

    def send_at_once(self, frames: Sequence[bytes]) -> int:
        """Those frames that the socket takes now; how many. Any thread."""
        return self._sender.send(frames)


class StreamNetdev(OnePeer[Connection], Netdev):
    """A backend with one peer at a time on a stream socket."""

    sends_at_once = True

    def __init__(self, name: str, source: PeerSource) -> None:
        """`name` is what the log calls it."""
        Netdev.__init__(self)
        OnePeer.__init__(self, source, get_logger(netdev=name))
        self.connections = 0
        """Connections made so far."""
        self.malformed = 0
        """Connections closed because the peer sent what cannot be a frame."""
        self.undelivered = 0
        """Frames from the guest that were dropped because nobody was connected."""

    def make_connection(self) -> Connection:
        return Connection(self)

    def link_changed(self, *, up: bool) -> None:
        self.connections += up
        self._receiver.carrier(up=up)
        if not up:
            self._receiver.writable()  # what is sent now is dropped

    def link_writable(self) -> None:
        self._receiver.writable()

    def send(self, frames: Sequence[bytes]) -> int:
        peer = self._peer
        if peer is None:
            self.undelivered += len(frames)
            return len(frames)
        if not peer.writable:
            return 0
        peer.send(frames)
        return len(frames)

    def send_at_once(self, frames: Sequence[bytes]) -> int:
        peer = self._peer
        return 0 if peer is None else peer.send_at_once(frames)

    def resume(self) -> None:
        if self._peer is not None:
            self._peer.deliver()

    def received(self, frames: Sequence[memoryview]) -> int:
        """The peer sent frames; how many the guest took."""
        return self._receiver.receive(frames)
