"""The console device (virtio 1.2, 5.3): one port, or several with a control queue each way."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from avmm.plugin import Figure, FigureKind, FigureValue
from avmm_virtio.console.control import Control, Event, message, parse, resize, same_kind, same_port
from avmm_virtio.console.port import Port
from avmm_virtio.model import VirtioModel
from avmm_virtio.virtqueue import Virtqueue
from avmm_virtio.wakeup import Wakeup

F_SIZE: Final = 1 << 0
F_MULTIPORT: Final = 1 << 1
F_EMERG_WRITE: Final = 1 << 2
MOST_PORTS: Final = 32
CONTROL_RECEIVE, CONTROL_TRANSMIT = 2, 3
"""Queues; those of port 0 are in front of them, those of the others behind (5.3.2)."""
_CONFIG = struct.Struct("<HHII")
"""struct virtio_console_config: cols, rows, max_nr_ports, emerg_wr."""
_EMERG_WR = 8

_BYTES, _LOST = "Bytes through the ports of a console device.", "Bytes that a console device dropped."
_TRANSMITTED = Figure("console_bytes", FigureKind.COUNTER, _BYTES, {"direction": "transmitted"})
_RECEIVED = Figure("console_bytes", FigureKind.COUNTER, _BYTES, {"direction": "received"})
_NOBODY = Figure("console_lost_bytes", FigureKind.COUNTER, _LOST, {"reason": "nobody"})
_SLOW = Figure("console_lost_bytes", FigureKind.COUNTER, _LOST, {"reason": "slow"})
_HOST = Figure("console_lost_bytes", FigureKind.COUNTER, _LOST, {"reason": "host"})
_INVALID = Figure("console_invalid_messages", FigureKind.COUNTER, "Control messages of a driver's that made no sense.")


class VirtioConsole(VirtioModel):
    """A console device. Owner: the device lock; its chardevs live on the event loop."""

    device_id = 3

    def __init__(self, ports: Mapping[int, Port], *, max_ports: int = 1) -> None:
        """`ports` by their numbers, below `max_ports` (1 to MOST_PORTS). Number 0 is the one that drivers of one port know."""
        assert all(0 <= number < max_ports <= MOST_PORTS for number in ports)
        several = max_ports > 1
        self.features = F_SIZE | F_EMERG_WRITE | (F_MULTIPORT if several else 0)
        self.queue_sizes = (128, 128, *((32, 32) if several else ()), *[128] * (2 * max_ports - 2))
        self.max_ports = max_ports
        self.ports = dict(ports)
        self._messages: deque[bytes] = deque()
        """For the driver, which has no buffer for them yet: of each kind the newest for a port, so that there are never many."""
        self._driver_ready = self._paused = False
        self._wakeup = Wakeup()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[Port, asyncio.Task[None]] = {}
        self.invalid = 0
        self._set_config()
        for number, port in self.ports.items():
            port.attach(self, number)

    # What a port asks.

    @property
    def several(self) -> bool:
        """The driver knows of several ports."""
        return bool(self.device.features & F_MULTIPORT)

    @property
    def may_take(self) -> bool:
        """False while nothing may be taken from the guest."""
        return not self._paused

    def may_give(self, port: Port) -> bool:
        """False while the guest can have no input from `port`."""
        return not self._paused and self.device.active and (port.guest_open or not self.several)

    def serve_later(self, port: Port) -> None:
        """Have `port` served on the event loop."""
        port.pending = True
        self._wakeup.set()

    def host_opened(self, port: Port) -> None:
        """Somebody came to the host's end of `port`, or went."""
        if port.ready:
            self._tell(message(port.id, Event.PORT_OPEN, int(port.host_open)))

    def resized(self, port: Port) -> None:
        """The terminal at the host's end of `port` has another size. The device lock is held."""
        if port.id == 0:
            self._set_config()
            self.device.config_changed()
        if port.ready and port.hvc:
            self._tell(self._size_of(port))

    # What the driver does, with the device lock held.

    def activate(self) -> None:
        # Linux before 6.12 looks at the size only when it is told that it has changed.
        if (port := self.ports.get(0)) is not None and port.size is not None:
            self.device.config_changed()

    def notify(self, queue: Virtqueue) -> None:
        match queue.index:
            case 0 | 1:
                number = 0
            case _ if not self.several:
                return
            case 2:
                self._flush()
                return
            case 3:
                self._serve_control(queue)
                return
            case index:
                number = index // 2 - 1
        if (port := self.ports.get(number)) is not None:
            port.notify(queue)

    def write_config(self, offset: int, data: bytes) -> None:
        """Only `emerg_wr` is the driver's to write, at any time (5.3.4)."""
        if offset <= _EMERG_WR < offset + len(data) and (port := self.ports.get(0)) is not None:
            port.emergency(data[_EMERG_WR - offset])

    def queue_reset(self, queue: Virtqueue) -> None:
        for port in self.ports.values():
            port.queue_reset(queue)

    def reset(self) -> None:
        self._driver_ready = False
        self._messages.clear()
        for port in self.ports.values():
            port.reset()

    def _set_config(self) -> None:
        port = self.ports.get(0)
        self.config = _CONFIG.pack(*(port.size if port is not None and port.size else (0, 0)), self.max_ports, 0)

    # Control messages (5.3.6.2).

    def _serve_control(self, queue: Virtqueue) -> None:
        for chain in queue.chains():
            control = parse(chain.read(0, 64))
            queue.push(chain, read=8)
            if control is None or not self._control(control):
                self.invalid += 1

    def _control(self, control: Control) -> bool:
        """Do as the driver says; False when it makes no sense."""
        port = self.ports.get(control.port)
        match control.event:
            case Event.DEVICE_READY:
                self._driver_ready = bool(control.value)
                for each in self.ports.values():
                    self._add(each)
            case Event.PORT_READY if port is not None and port.added:
                port.ready = bool(control.value)
                self._introduce(port)
            case Event.PORT_OPEN if port is not None and port.added:
                port.guest_open = bool(control.value)
                port.notify(self.device.queues[0 if port.id == 0 else 2 * port.id + 2])
            case _:
                return False
        return True

    def _add(self, port: Port) -> None:
        if self._driver_ready and not port.added:
            port.added = True
            self._tell(message(port.id, Event.PORT_ADD))

    def _introduce(self, port: Port) -> None:
        """Say what there is to know of a port that the driver is ready for."""
        if not port.ready:
            return
        if port.hvc:
            self._tell(message(port.id, Event.CONSOLE_PORT, 1))
            if port.size is not None:
                self._tell(self._size_of(port))
        if port.name:
            self._tell(message(port.id, Event.PORT_NAME, 1, port.name.encode()))
        if port.host_open:
            self._tell(message(port.id, Event.PORT_OPEN, 1))

    def _size_of(self, port: Port) -> bytes:
        assert port.size is not None
        return resize(port.id, *port.size)

    def _tell(self, what: bytes) -> None:
        self._messages = deque(other for other in self._messages if not same_kind(other, what))
        self._messages.append(what)
        self._flush()

    def _tell_removed(self, port: Port) -> None:
        """The driver hears of the port's end, unless it never heard of its beginning."""
        removal = message(port.id, Event.PORT_REMOVE)
        unheard = message(port.id, Event.PORT_ADD) in self._messages
        self._messages = deque(other for other in self._messages if other == removal or not same_port(other, removal))
        if not unheard:
            self._tell(removal)

    def _flush(self) -> None:
        queue = self.device.queues[CONTROL_RECEIVE]
        while self._messages and not self._paused and (chain := queue.pop()) is not None:
            queue.push(chain, chain.write(self._messages.popleft()))
        queue.signal()

    # The event loop's side.

    def plug(self, port: Port) -> None:
        """Add a port to a running device that has room for several; it gets the lowest number that is free, from 1 on.

        RuntimeError when there is none.
        """
        number = next((number for number in range(1, self.max_ports) if number not in self.ports), None)
        if number is None:
            raise RuntimeError(f"{self.device.name}: all {self.max_ports} ports are there")
        with self.device.lock:
            self.ports[number] = port
            port.attach(self, number)
            self._add(port)
        if self._group is not None:
            self._tasks[port] = self._group.create_task(port.chardev.run())

    def unplug(self, port: Port) -> None:
        """Take a port out, whatever is under way on it."""
        with self.device.lock:
            del self.ports[port.id]
            if port.added:
                self._tell_removed(port)
            port.reset()
        if port in self._tasks:
            self._tasks.pop(port).cancel()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._tasks = {port: group.create_task(port.chardev.run()) for port in self.ports.values()}
            await self._serve()

    async def _serve(self) -> None:
        while True:
            await self._wakeup.wait()
            if not self._paused:
                for port in [port for port in self.ports.values() if port.pending]:
                    if port.chardev.immediate:
                        with self.device.lock:
                            port.serve()
                    else:
                        port.serve()

    async def quiesce(self) -> None:
        self._paused = True

    async def resume(self) -> None:
        with self.device.lock:
            self._paused = False
            if self.device.active and self.several:
                self._flush()
            for port in self.ports.values():
                self.serve_later(port)

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        ports = list(self.ports.values())
        return (
            (_TRANSMITTED, sum(port.transmitted for port in ports)),
            (_RECEIVED, sum(port.received for port in ports)),
            (_NOBODY, sum(port.undelivered for port in ports)),
            (_SLOW, sum(port.slow for port in ports)),
            (_HOST, sum(port.chardev.lost for port in ports)),
            (_INVALID, self.invalid),
        )
