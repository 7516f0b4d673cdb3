"""One stream between a socket in the guest and one of the host's (virtio 1.2, 5.10.6.3 to 5.10.6.5)."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final, assert_never

from avmm.plugin import TimerHandle
from avmm_virtio.vsock.packet import BOTH, HOST_CID, STREAM, Header, Op, Shutdown

if TYPE_CHECKING:
    from avmm_virtio.vsock.device import VirtioVsock
    from avmm_virtio.vsock.host import HostStream

BUF_ALLOC: Final = 1 << 18
"""How many bytes of the guest's may wait for the host's socket, which is what the guest is told."""
HELD: Final = 1 << 16
"""How many bytes of the host's may wait for the guest before no more are read; one read comes on top."""
_MASK: Final = 0xFFFF_FFFF


class State(Enum):
    """Where a connection is in its life."""

    CONNECTING = auto()
    """The guest asked for it; the host's socket is being connected."""
    REQUESTED = auto()
    """The host asked for it; the guest has not answered."""
    CONNECTED = auto()
    CLOSING = auto()
    """The host's socket has gone; the guest gets what is left, then a SHUTDOWN, and answers it with RST."""
    RESET = auto()
    """The guest is told by RST that it is over, and nothing else any more."""
    OVER = auto()


_OPEN: Final = frozenset((State.REQUESTED, State.CONNECTED))
"""The host may speak."""
_SENDING: Final = frozenset((State.CONNECTED, State.CLOSING))
"""The guest hears it."""


class Connection:
    """A connection, from REQUEST to RST. Owner: the event loop."""

    def __init__(self, device: VirtioVsock, host_port: int, guest_port: int, state: State) -> None:
        self._device, self.host_port, self.guest_port = device, host_port, guest_port
        self.state = state
        self.host: HostStream | None = None
        """The host's socket, while there is one."""
        self.queued = False
        """It waits for its turn to send a packet."""
        self.timer: TimerHandle | None = None
        self._data = bytearray()
        """From the host, for the guest."""
        self._owed: Op | None = Op.REQUEST if state is State.REQUESTED else None
        """A packet to open with."""
        self._credit_owed = self._credit_asked = False
        self._guest_shut = Shutdown(0)
        """What the guest said it will not do any more."""
        self._host_ended = False
        """The host will send no more than what is held here."""
        self._shut = Shutdown(0)
        """What the guest was told of that."""
        self._tx_cnt = self._peer_fwd_cnt = self._peer_buf_alloc = 0
        self._rx_cnt = self._fwd_told = 0

    # Packets from the guest.

    def packet(self, header: Header, data: bytes) -> None:
        """A packet of this connection's."""
        self.credit(header)
        if header.op == Op.RST:
            self.over()
        elif self.state is not State.RESET:
            self._packet(header, data)
            self._device.serve(self)

    def _packet(self, header: Header, data: bytes) -> None:
        match header.op:
            case Op.RESPONSE if self.state is State.REQUESTED:
                self.state = State.CONNECTED
                self._device.disarm(self)
                assert self.host is not None
                self.host.greeted(self.host_port)
            case Op.RW if self.state is State.CONNECTED and not self._guest_shut & Shutdown.SEND:
                self._receive(data)
            case Op.RW if self.state is State.CLOSING:
                self._rx_cnt += len(data)  # there is nobody to take it
            case Op.SHUTDOWN if self.state in (State.CONNECTED, State.CLOSING):
                self._guest_shuts(Shutdown(header.flags & BOTH))
            case Op.CREDIT_UPDATE:
                pass
            case Op.CREDIT_REQUEST:
                self._credit_owed = True
            case _:
                self.reset()

    def credit(self, header: Header) -> None:
        """What every packet says of the guest's room for data (5.10.6.3)."""
        self._peer_buf_alloc, self._peer_fwd_cnt = header.buf_alloc, header.fwd_cnt
        if self._free:
            self._credit_asked = False

    def _receive(self, data: bytes) -> None:
        assert self.host is not None
        if self._rx_cnt + len(data) - self._fwd_cnt > BUF_ALLOC:
            self._device.invalid += 1
            self.reset()
            return
        self._rx_cnt += len(data)
        self._device.bytes_out += len(data)
        self.host.write(data)
        self.drained()

    @property
    def _fwd_cnt(self) -> int:
        """Bytes that the host's socket has taken. It never goes back: what `greeted` wrote may wait in front of them."""
        return max(self._fwd_told, self._rx_cnt - (self.host.unsent if self.host is not None else 0))

    def _guest_shuts(self, flags: Shutdown) -> None:
        before, self._guest_shut = self._guest_shut, self._guest_shut | flags
        if self._guest_shut & Shutdown.RECEIVE:
            self._data.clear()
            if self.host is not None:
                self.host.read(wanted=False)
        if self.state is State.CLOSING:
            if self._guest_shut == BOTH:
                self.reset()
        elif self._guest_shut == BOTH or (self._guest_shut & Shutdown.SEND and self._host_ended):
            self._hang_up()
        elif self._guest_shut & Shutdown.SEND and not before & Shutdown.SEND and self.host is not None:
            self.host.write_eof()

    def _hang_up(self) -> None:
        """Both sides have said all they have to say: close the host's socket when what waits for it is written."""
        if self.host is not None:
            self.host.hang_up()

    # The host's socket.

    def connected(self, host: HostStream) -> None:
        """The host's socket that the guest asked for is there."""
        if self.state is not State.CONNECTING:
            host.close("the guest has gone")
            return
        self.host, self.state, self._owed = host, State.CONNECTED, Op.RESPONSE
        self._device.serve(self)

    def refused(self) -> None:
        """There is no such socket."""
        if self.state is State.CONNECTING:
            self.reset()

    def received(self, data: bytes) -> None:
        """Bytes from the host."""
        if self.state in _OPEN and not self._guest_shut & Shutdown.RECEIVE:
            self._data += data
            self._read_on()
            self._device.serve(self)

    def drained(self) -> None:
        """The host's socket has taken more: tell the guest when half of its room and more was in use as far as it knows."""
        if self._fwd_cnt != self._fwd_told and self._rx_cnt - self._fwd_told > BUF_ALLOC // 2:
            self._credit_owed = True
            self._device.serve(self)

    def ended(self) -> None:
        """The host will send no more."""
        self._host_ended = True
        if self._guest_shut & Shutdown.SEND:
            self._hang_up()
        self._device.serve(self)

    def gone(self, error: Exception | None) -> None:
        """The host's socket is no more."""
        self.host = None
        match self.state:
            case State.CONNECTED if error is None and self._guest_shut != BOTH:
                self.state, self._host_ended = State.CLOSING, True
                self._device.serve(self)
            case State.CONNECTED | State.CONNECTING | State.REQUESTED:
                self.reset()
            case State.CLOSING | State.RESET | State.OVER:
                pass
            case _:
                assert_never(self.state)

    # Its end.

    def reset(self) -> None:
        """Tell the guest that it is over, at once."""
        self.state = State.RESET
        self._drop_host()
        self._device.disarm(self)
        self._device.serve(self)

    def over(self) -> None:
        """Forget it: the guest knows, or is no more."""
        self.state = State.OVER
        self._drop_host()
        self._device.forget(self)

    def _drop_host(self) -> None:
        self._data.clear()
        host, self.host = self.host, None
        if host is not None:
            host.close("the guest has hung up")

    def timed_out(self) -> None:
        """The guest did not answer REQUEST, or SHUTDOWN (5.10.6.5), in time."""
        if self.state in (State.REQUESTED, State.CLOSING):
            self.reset()

    # Packets for the guest.

    @property
    def _free(self) -> int:
        """How much room the guest has for data (5.10.6.3)."""
        return max(0, self._peer_buf_alloc - (self._tx_cnt - self._peer_fwd_cnt & _MASK))

    @property
    def _shutdown_owed(self) -> Shutdown:
        """What the guest is still to be told: behind the last byte."""
        if self._data or not self._host_ended or self.state not in _SENDING:
            return Shutdown(0)
        return (BOTH if self.state is State.CLOSING else Shutdown.SEND) & ~self._shut

    @property
    def wants(self) -> bool:
        """It has a packet for the guest."""
        if self.state in (State.RESET, State.CONNECTING, State.OVER):
            return self.state is State.RESET
        if self._owed is not None or self._credit_owed or self._shutdown_owed:
            return True
        return bool(self._data) and self.state in _SENDING and (self._free > 0 or not self._credit_asked)

    def next_packet(self, room: int) -> bytes:
        """The next packet, data of at most `room` bytes included (1 or more); only when it `wants`."""
        if self.state is State.RESET:
            self.over()
            return self._header(Op.RST)
        if self._owed is not None:
            op, self._owed = self._owed, None
            return self._header(op)
        size = min(room, len(self._data), self._free) if self.state in _SENDING else 0
        if size:
            data = bytes(self._data[:size])
            del self._data[:size]
            self._tx_cnt = self._tx_cnt + size & _MASK
            self._device.bytes_in += size
            self._read_on()
            return self._header(Op.RW, size) + data
        if shut := self._shutdown_owed:
            self._shut |= shut
            if self._shut == BOTH:
                self._device.arm(self)
            return self._header(Op.SHUTDOWN, flags=self._shut)
        if self._credit_owed:
            return self._header(Op.CREDIT_UPDATE)
        self._credit_asked = True
        return self._header(Op.CREDIT_REQUEST)

    def _header(self, op: Op, size: int = 0, *, flags: int = 0) -> bytes:
        """A header, with the credit that every packet carries."""
        self._fwd_told, self._credit_owed = self._fwd_cnt, False
        cid, fwd_cnt = self._device.cid, self._fwd_told & _MASK
        return Header(HOST_CID, cid, self.host_port, self.guest_port, size, STREAM, op, flags, BUF_ALLOC, fwd_cnt).pack()

    def _read_on(self) -> None:
        """Read from the host as long as there is room."""
        if self.host is not None:
            self.host.read(wanted=len(self._data) < HELD)
