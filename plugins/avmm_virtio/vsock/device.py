"""The socket device (virtio 1.2, 5.10): streams between the guest and the host."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from avmm.plugin import Clock, Figure, FigureKind, FigureValue
from avmm_virtio.model import VirtioModel
from avmm_virtio.virtqueue import Virtqueue
from avmm_virtio.vsock.connection import BUF_ALLOC, Connection, State
from avmm_virtio.vsock.host import HostStream, UnixHost
from avmm_virtio.vsock.packet import HEADER, HOST_CID, STREAM, Header, Op, parse
from avmm_virtio.wakeup import Wakeup

F_STREAM: Final = 1 << 0
RECEIVE, TRANSMIT = 0, 1
PATIENCE_NS: Final = 8_000_000_000
"""How long a visitor may take for its line, and the guest to answer REQUEST or SHUTDOWN."""
FIRST_PORT, LAST_PORT = 1 << 30, (1 << 31) - 1
"""The ports that the guest sees visitors at."""
_RESETS = 256
"""How many answers to packets of no connection wait for the driver before no more of its packets are looked at."""
_BATCH_PACKETS, _BATCH_BYTES = 64, 256 << 10
"""What is taken from the guest at once, or given; then it is the event loop's turn."""

_BYTES, _OPENED = "Bytes through a socket device.", "Connections that came about on a socket device."
_CONNECTIONS = Figure("vsock_connections", FigureKind.GAUGE, "Connections of a socket device, on their way up and down included.")
_BY_GUEST = Figure("vsock_opened", FigureKind.COUNTER, _OPENED, {"by": "guest"})
_BY_HOST = Figure("vsock_opened", FigureKind.COUNTER, _OPENED, {"by": "host"})
_REFUSED = Figure("vsock_refused", FigureKind.COUNTER, "Connections refused by a socket device because there are too many.")
_INVALID = Figure("vsock_invalid_packets", FigureKind.COUNTER, "Packets of a driver's that broke a rule of the socket device.")
_BYTES_OUT = Figure("vsock_bytes", FigureKind.COUNTER, _BYTES, {"direction": "transmitted"})
_BYTES_IN = Figure("vsock_bytes", FigureKind.COUNTER, _BYTES, {"direction": "received"})


class VirtioVsock(VirtioModel):
    """A socket device. Owner: the event loop, and the device lock for what the driver sees."""

    device_id = 19
    features = F_STREAM
    queue_sizes = (128, 128, 8)

    def __init__(self, cid: int, host: UnixHost, clock: Clock, *, most: int = 1024) -> None:
        """`cid`: the guest's, 3 to 2**32 - 2. `most`: how many connections there may be, and visitors besides."""
        self.cid, self._host, self._clock, self._most = cid, host, clock, most
        self.config = cid.to_bytes(8, "little")
        self._connections: dict[tuple[int, int], Connection] = {}
        """By the host's port and the guest's."""
        self._ready: deque[Connection] = deque()
        """Those that have packets for the guest."""
        self._resets: deque[Header] = deque()
        self._visitors: set[HostStream] = set()
        """Who has not said yet which port of the guest's it is to be."""
        self._next_port = FIRST_PORT
        self._wakeup = Wakeup()
        self._paused = self._forget_all = False
        self.by_guest = self.by_host = self.refused = self.invalid = self.bytes_out = self.bytes_in = 0

    # What the driver does, with the device lock held.

    def notify(self, queue: Virtqueue) -> None:
        self._wakeup.set()  # events there are none of

    def reset(self) -> None:
        self._forget_all = True
        self._wakeup.set()

    # What connections and visitors ask. The event loop's thread.

    def serve(self, connection: Connection) -> None:
        """`connection` has a packet for the guest, perhaps."""
        if connection.wants and not connection.queued:
            connection.queued = True
            self._ready.append(connection)
            self._wakeup.set()

    def arm(self, connection: Connection) -> None:
        """Have the guest answer `connection` in time."""
        self.disarm(connection)
        connection.timer = self._clock.call_at(self._clock.now_ns() + PATIENCE_NS, connection.timed_out)

    def disarm(self, connection: Connection) -> None:
        """It has answered."""
        if connection.timer is not None:
            connection.timer.cancel()

    def forget(self, connection: Connection) -> None:
        """`connection` is over."""
        self.disarm(connection)
        self._connections.pop((connection.host_port, connection.guest_port), None)

    def visitor(self, stream: HostStream) -> None:
        """Somebody came to the host's socket."""
        if len(self._visitors) >= self._most:
            self.refused += 1
            stream.close("too many are waiting")
            return
        self._visitors.add(stream)
        stream.timer = self._clock.call_at(self._clock.now_ns() + PATIENCE_NS, lambda: stream.close("said nothing"))

    def visitor_gone(self, stream: HostStream) -> None:
        """It has gone, or said what it wants."""
        self._visitors.discard(stream)
        if stream.timer is not None:
            stream.timer.cancel()

    def connect_guest(self, stream: HostStream, port: int) -> Connection | None:
        """Ask the guest's `port` for a connection with a visitor; None when there are too many."""
        self.visitor_gone(stream)
        if len(self._connections) >= self._most:
            self.refused += 1
            stream.close("too many connections")
            return None
        while (self._next_port, port) in self._connections:
            self._advance_port()
        connection = Connection(self, self._next_port, port, State.REQUESTED)
        self._advance_port()
        connection.host = stream
        self._connections[connection.host_port, port] = connection
        self.by_host += 1
        self.arm(connection)
        self.serve(connection)
        return connection

    def _advance_port(self) -> None:
        self._next_port = self._next_port + 1 if self._next_port < LAST_PORT else FIRST_PORT

    # The event loop's side.

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._host.run(self))
            group.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            while True:
                await self._wakeup.wait()
                if self._forget_all:
                    self._forget_all = False
                    self._hang_up()
                if not self._paused:
                    self._from_guest()
                    self._to_guest()
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        for connection in list(self._connections.values()):
            connection.over()
        for stream in list(self._visitors):
            stream.close("the guest has gone")
        self._ready.clear()
        self._resets.clear()

    async def quiesce(self) -> None:
        self._paused = True

    async def resume(self) -> None:
        self._paused = False
        self._wakeup.set()

    def _from_guest(self) -> None:
        """One batch of the guest's packets."""
        for header, data in self._take_batch(self.device.queues[TRANSMIT]):
            self._packet(header, data)

    def _take_batch(self, queue: Virtqueue) -> list[tuple[Header, bytes]]:
        packets: list[tuple[Header, bytes]] = []
        size = 0
        with self.device.lock:
            count = min(_BATCH_PACKETS, _RESETS - len(self._resets))
            for _ in range(count):
                chain = queue.pop() if size < _BATCH_BYTES else None
                if chain is None:
                    break
                header = parse(chain.read(0, HEADER))
                data = chain.read(HEADER, min(header.size, BUF_ALLOC)) if header is not None else b""
                queue.push(chain, read=HEADER + len(data))
                size += len(data)
                if header is None or header.src_cid != self.cid or len(data) != header.size:
                    self.invalid += 1
                else:
                    packets.append((header, data))
            else:
                size = _BATCH_BYTES if count else 0
            if size >= _BATCH_BYTES:
                self._wakeup.set()  # there may be more, after whoever else waits for the event loop
            queue.signal()
        return packets

    def _packet(self, header: Header, data: bytes) -> None:
        connection = self._connections.get((header.dst_port, header.src_port))
        if header.type != STREAM or header.dst_cid != HOST_CID:
            self._answer_reset(header)
        elif connection is not None:
            connection.packet(header, data)
        elif header.op == Op.REQUEST:
            self._request(header)
        else:
            self._answer_reset(header)

    def _request(self, header: Header) -> None:
        """The guest asks for a connection."""
        if len(self._connections) >= self._most:
            self.refused += 1
            self._answer_reset(header)
            return
        connection = Connection(self, header.dst_port, header.src_port, State.CONNECTING)
        connection.credit(header)
        self._connections[header.dst_port, header.src_port] = connection
        self.by_guest += 1
        self._host.connect(self, connection)

    def _answer_reset(self, header: Header) -> None:
        """A packet of no connection; that RST is never answered by another keeps two that disagree from answering for ever."""
        if header.op != Op.RST:
            self._resets.append(header.reset())

    def _to_guest(self) -> None:
        """One batch of packets for the guest."""
        queue = self.device.queues[RECEIVE]
        with self.device.lock:
            for _ in range(_BATCH_PACKETS):
                chain = queue.pop() if self._something_to_send() else None
                if chain is None:
                    break
                room = chain.writable_bytes - HEADER
                if room < 1:
                    self.device.broken(f"a receive buffer of {room + HEADER} bytes")
                    break
                queue.push(chain, chain.write(self._next_packet(room)))
            else:
                self._wakeup.set()
            queue.signal()

    def _something_to_send(self) -> bool:
        while self._ready and not self._ready[0].wants:
            self._ready.popleft().queued = False
        return bool(self._resets or self._ready)

    def _next_packet(self, room: int) -> bytes:
        if self._resets:
            if len(self._resets) == _RESETS:
                self._wakeup.set()  # the guest's packets are looked at again
            return self._resets.popleft().pack()
        connection = self._ready.popleft()
        packet = connection.next_packet(room)
        connection.queued = False
        self.serve(connection)
        return packet

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        return (
            (_CONNECTIONS, len(self._connections)),
            (_BY_GUEST, self.by_guest),
            (_BY_HOST, self.by_host),
            (_REFUSED, self.refused),
            (_INVALID, self.invalid),
            (_BYTES_OUT, self.bytes_out),
            (_BYTES_IN, self.bytes_in),
        )
