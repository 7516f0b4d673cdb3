"""An Ethernet switch in this process: virtual machines on one event loop, joined frame by frame."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from avmm_virtio.netdev import MIN_FRAME, Netdev

LEARNED_ADDRESSES: Final = 4096
"""How many addresses a switch remembers; the one it heard from longest ago gives way."""
PORT_FRAMES: Final = 512
"""How many frames wait for a port that has no room; what comes beyond is dropped."""


class SwitchPort(Netdev):
    """One port: the backend of one network device. Its link is up while its machine runs."""

    def __init__(self, switch: Switch, name: str) -> None:
        super().__init__()
        self._switch, self.name = switch, name
        self._waiting: deque[bytes] = deque()
        self._up = False
        self.dropped = 0
        """Frames for this port that found its queue full."""

    async def run(self) -> None:
        self._up = True
        self._receiver.carrier(up=True)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._up = False
            self._waiting.clear()
            self._switch.forget(self)
            self._receiver.carrier(up=False)

    def send(self, frames: Sequence[bytes]) -> int:
        self._switch.forward(self, frames)
        return len(frames)

    def resume(self) -> None:
        taken = self._receiver.receive(self._waiting)
        for _ in range(taken):
            self._waiting.popleft()

    @property
    def up(self) -> bool:
        """True while frames for this port are worth sending."""
        return self._up

    @property
    def depth(self) -> int:
        """How many frames wait for it, 0 to PORT_FRAMES."""
        return len(self._waiting)

    def deliver(self, frames: Sequence[bytes]) -> None:
        """Frames that leave the switch here."""
        if not self._waiting:
            frames = frames[self._receiver.receive(frames) :]
        room = PORT_FRAMES - len(self._waiting)
        self.dropped += max(0, len(frames) - room)
        self._waiting.extend(frames[:room])


class Switch:
    """A learning switch (IEEE 802.1D 7.7 to 7.9, without spanning trees). Owner: the event loop of its machines.

    Give it to several machines as the `net` of a virtio-net device, or take a port yourself. A frame goes to the port that its
    destination was last heard on, else to every other port. A port that is slow loses frames of its own and delays nobody.
    """

    def __init__(self) -> None:
        self._ports: list[SwitchPort] = []
        self._learned: OrderedDict[bytes, SwitchPort] = OrderedDict()
        self.forwarded = self.flooded = 0
        """Frames sent to one port, and to all."""

    @property
    def ports(self) -> Sequence[SwitchPort]:
        """Its ports, oldest first."""
        return self._ports

    @property
    def addresses(self) -> dict[str, str]:
        """The port's name for each address heard of, `02:00:00:00:00:01` for example."""
        return {address.hex(":"): port.name for address, port in self._learned.items()}

    def port(self, name: str) -> SwitchPort:
        """A new port."""
        port = SwitchPort(self, name)
        self._ports.append(port)
        return port

    def remove(self, port: SwitchPort) -> None:
        """Take a port out for good."""
        self._ports.remove(port)
        self.forget(port)

    def forget(self, port: SwitchPort) -> None:
        """Nothing is known to be behind `port` any more."""
        for address in [address for address, where in self._learned.items() if where is port]:
            del self._learned[address]

    def forward(self, source: SwitchPort, frames: Sequence[bytes]) -> None:
        """Frames that came in at `source`. Those in a row for the same port go there together."""
        start, target = 0, None
        for index, frame in enumerate(frames):
            where = self._where(source, frame)
            if index and where is not target:
                self._send(source, target, frames[start:index])
                start = index
            target = where
        if frames:
            self._send(source, target, frames[start:])

    def _where(self, source: SwitchPort, frame: bytes) -> SwitchPort | None:
        """Where to: a port (the source's own when it goes nowhere), or None for all others. Learns where it comes from."""
        if len(frame) < MIN_FRAME:
            return source
        sender = frame[6:12]
        # A group address sends nothing (IEEE 802.3, 3.2.3): who says so is not believed.
        if not sender[0] & 1:
            self._learned[sender] = source
            self._learned.move_to_end(sender)
            if len(self._learned) > LEARNED_ADDRESSES:
                self._learned.popitem(last=False)
        return self._learned.get(frame[:6]) if not frame[0] & 1 else None

    def _send(self, source: SwitchPort, target: SwitchPort | None, frames: Sequence[bytes]) -> None:
        if target is None:
            self.flooded += len(frames)
            for port in self._ports:
                if port is not source and port.up:
                    port.deliver(frames)
        elif target is not source:
            self.forwarded += len(frames)
            target.deliver(frames)
