"""The network device (virtio 1.2, 5.1): the card that the guest sees, in front of any backend."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from avmm.plugin import Figure, FigureKind, FigureValue
from avmm_virtio.chain import Chain
from avmm_virtio.model import VirtioModel
from avmm_virtio.netdev import MAX_FRAME, MIN_FRAME, Frame, Netdev
from avmm_virtio.virtqueue import Virtqueue
from avmm_virtio.wakeup import Wakeup

F_MTU: Final = 1 << 3
F_MAC: Final = 1 << 5
F_MRG_RXBUF: Final = 1 << 15
F_STATUS: Final = 1 << 16
F_CTRL_VQ: Final = 1 << 17
F_GUEST_ANNOUNCE: Final = 1 << 21
S_LINK_UP: Final = 1
S_ANNOUNCE: Final = 2
RECEIVE, TRANSMIT, CONTROL = 0, 1, 2

_CONFIG = struct.Struct("<6sHHH")
"""struct virtio_net_config: mac, status, max_virtqueue_pairs, mtu."""
_HEADER = struct.Struct("<BBHHHHH")
"""struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers. Only the last is ever used:
no offload is offered, because no backend knows of one."""
_CTRL_ANNOUNCE, _CTRL_ANNOUNCE_ACK = 3, 0
_OK, _ERR = b"\0", b"\1"
_BATCH_FRAMES, _BATCH_BYTES = 64, 256 << 10
"""What is taken from the guest at once; then it is the event loop's turn."""

_FRAMES, _BYTES = "Ethernet frames through a network device.", "Bytes of Ethernet frames through a network device."
_DROPS = "Ethernet frames that a network device dropped."
_FRAMES_OUT = Figure("net_frames", FigureKind.COUNTER, _FRAMES, {"direction": "transmitted"})
_FRAMES_IN = Figure("net_frames", FigureKind.COUNTER, _FRAMES, {"direction": "received"})
_BYTES_OUT = Figure("net_bytes", FigureKind.COUNTER, _BYTES, {"direction": "transmitted"})
_BYTES_IN = Figure("net_bytes", FigureKind.COUNTER, _BYTES, {"direction": "received"})
_NO_DRIVER = Figure("net_dropped_frames", FigureKind.COUNTER, _DROPS, {"reason": "no_driver"})
_INVALID = Figure("net_dropped_frames", FigureKind.COUNTER, _DROPS, {"reason": "invalid"})
_TOO_BIG = Figure("net_dropped_frames", FigureKind.COUNTER, _DROPS, {"reason": "too_big"})
_WAITS = Figure("net_receive_waits", FigureKind.COUNTER, "Times a network device found no buffer of the guest's for a frame.")
_LINK = Figure("net_link_up", FigureKind.GAUGE, "1 while a network device's link is up.")


class VirtioNet(VirtioModel):
    """A network card. Frames that the guest has no buffer for stay with the backend; those it has no room for, with the guest.

    Owner: the device lock for what the driver sees; the event loop for everything towards the backend, but what is sent at once.
    """

    device_id = 1
    queue_sizes = (1024, 256, 64)

    def __init__(self, netdev: Netdev, mac: bytes, *, mtu: int | None = None, link: bool = True) -> None:
        """`mac` has 6 bytes; `mtu` (68 to 65535) is what the driver is told to use; `link` False pulls the cable."""
        self._netdev, self._mac, self._mtu, self._link = netdev, mac, mtu, link
        self.features = F_MAC | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_GUEST_ANNOUNCE | (0 if mtu is None else F_MTU)
        self._carrier = self._announce = self._paused = False
        self._starved = False
        """The backend has frames for which there was no buffer."""
        self._buffers: deque[Chain] = deque()
        """Chains taken off the receive queue and not used yet."""
        self._unsent: Sequence[bytes] = ()
        """Frames taken from the guest that the backend has not taken yet: one batch at most. While there are any they are the
        event loop's, and so is what comes behind them."""
        self._wakeup = Wakeup()
        self.frames_out = self.frames_in = self.bytes_out = self.bytes_in = 0
        self.no_driver = self.invalid = self.too_big = self.waits = 0
        self._set_config()
        netdev.connect(self)

    @property
    def mac(self) -> bytes:
        """Its address, 6 bytes."""
        return self._mac

    @property
    def link_up(self) -> bool:
        """The cable is in and somebody is at the other end."""
        return self._link and self._carrier

    # What the driver does, with the device lock held.

    def notify(self, queue: Virtqueue) -> None:
        if queue.index == CONTROL:
            self._serve_control(queue)
        elif queue.index == TRANSMIT and self._netdev.sends_at_once and not self._unsent and not self._paused:
            self._send_at_once(queue)
        elif queue.index == TRANSMIT or self._starved:
            self._wakeup.set()

    def queue_reset(self, queue: Virtqueue) -> None:
        if queue.index == RECEIVE:
            self._buffers.clear()

    def reset(self) -> None:
        self._buffers.clear()
        self._announce = False
        self._set_config()
        self._wakeup.set()  # frames that wait for a buffer wait for nothing now

    def _send_at_once(self, queue: Virtqueue) -> None:
        """One batch from where the driver notifies. While frames taken earlier are unsent, the order is the event loop's."""
        frames = self._take_batch(queue)
        if not frames:
            return
        taken = self._netdev.send_at_once(frames) if self._link else len(frames)
        self._count_sent(frames[:taken])
        self._unsent = frames[taken:]
        if self._unsent:
            self._wakeup.set()

    def _serve_control(self, queue: Virtqueue) -> None:
        """The control virtqueue (5.1.6.5): class, command, data, and one byte for the answer."""
        for chain in queue.chains():
            command = chain.read(0, 2)
            known = command == bytes((_CTRL_ANNOUNCE, _CTRL_ANNOUNCE_ACK))
            if known and self._announce:
                self._announce = False
                self._set_config()  # no interrupt: the driver knows
            queue.push(chain, chain.write(_OK if known else _ERR), read=len(command))

    def _set_config(self) -> None:
        status = (S_LINK_UP if self.link_up else 0) | (S_ANNOUNCE if self._announce else 0)
        self.config = _CONFIG.pack(self._mac, status, 1, self._mtu or 0)

    # The event loop's side.

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._netdev.run())
            group.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            await self._wakeup.wait()
            if not self._paused:
                if self._starved:
                    self._starved = False
                    self._netdev.resume()
                self._transmit()

    async def quiesce(self) -> None:
        with self.device.lock:
            self._paused = True

    async def resume(self) -> None:
        self._paused = False
        self._wakeup.set()

    def set_link(self, *, up: bool) -> None:
        """Put the cable in, or pull it. The event loop's thread."""
        with self.device.lock:
            self._link = up
            self._link_changed()

    def carrier(self, *, up: bool) -> None:
        with self.device.lock:
            self._carrier = up
            self._link_changed()

    def _link_changed(self) -> None:
        # After an outage the neighbours may have forgotten where we are.
        self._announce = self.link_up and bool(self.device.features & F_GUEST_ANNOUNCE)
        before = self.config
        self._set_config()
        if self.config != before:
            self.device.config_changed()

    def writable(self) -> None:
        self._wakeup.set()

    def _transmit(self) -> None:
        """One batch from the guest to the backend."""
        with self.device.lock:
            left = bool(self._unsent)
            if not left:
                self._unsent = self._take_batch(self.device.queues[TRANSMIT])
            frames = self._unsent
        if not frames:
            return
        taken = self._netdev.send(frames) if self._link else len(frames)
        with self.device.lock:
            self._count_sent(frames[:taken])
            self._unsent = frames[taken:]
        if left and not self._unsent:
            self._wakeup.set()  # for those that came behind them

    def _count_sent(self, frames: Sequence[bytes]) -> None:
        self.frames_out += len(frames)
        self.bytes_out += sum(map(len, frames))

    def _take_batch(self, queue: Virtqueue) -> list[bytes]:
        frames: list[bytes] = []
        size = 0
        for _ in range(_BATCH_FRAMES):
            chain = queue.pop() if size < _BATCH_BYTES else None
            if chain is None:
                break
            frame = chain.read(_HEADER.size, MAX_FRAME + 1)
            queue.push(chain, read=_HEADER.size + len(frame))
            size += len(frame)
            if MIN_FRAME <= len(frame) <= MAX_FRAME:
                frames.append(frame)
            else:
                self.invalid += 1
        else:
            size = _BATCH_BYTES
        if size >= _BATCH_BYTES:
            self._wakeup.set()  # there may be more, after whoever else waits for the event loop
        queue.signal()
        return frames

    def receive(self, frames: Sequence[Frame]) -> int:
        """Frames from the backend, into the guest's buffers."""
        with self.device.lock:
            if self._paused:
                self._starved = True
                return 0
            queue = self.device.queues[RECEIVE]
            if not queue.ready or not self.device.active or not self._link:
                self.no_driver += len(frames)
                return len(frames)
            taken = 0
            for frame in frames:
                if not self._put(queue, frame):
                    self._starved = True
                    self.waits += 1
                    break
                taken += 1
            queue.signal()
        return taken

    def _put(self, queue: Virtqueue, frame: Frame) -> bool:
        """Give the driver one frame; False when it has not given us the buffers."""
        size = len(frame)
        if not MIN_FRAME <= size <= MAX_FRAME:
            self.invalid += 1
            return True
        merge = self.device.features & F_MRG_RXBUF
        buffers, room = 0, 0
        while room < _HEADER.size + size:
            if buffers == (queue.split.size if merge else 1):
                self.too_big += 1
                return True
            if buffers == len(self._buffers):
                chain = queue.pop()
                if chain is None:
                    return False
                self._buffers.append(chain)
            room += self._buffers[buffers].writable_bytes
            buffers += 1
        self._fill(queue, frame, buffers)
        return True

    def _fill(self, queue: Virtqueue, frame: Frame, buffers: int) -> None:
        """Write one frame to the next `buffers` chains, which have room for it (5.1.6.4), and give them back."""
        data = _HEADER.pack(0, 0, 0, 0, 0, 0, buffers) + frame
        self.frames_in += 1
        self.bytes_in += len(frame)
        if buffers == 1:
            chain = self._buffers.popleft()
            queue.push(chain, chain.write(data))
            return
        view, used = memoryview(data), []
        for _ in range(buffers):
            chain = self._buffers.popleft()
            written = chain.write(view)
            used.append((chain, written))
            view = view[written:]
        queue.push_all(used)

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        return (
            (_FRAMES_OUT, self.frames_out),
            (_FRAMES_IN, self.frames_in),
            (_BYTES_OUT, self.bytes_out),
            (_BYTES_IN, self.bytes_in),
            (_NO_DRIVER, self.no_driver),
            (_INVALID, self.invalid),
            (_TOO_BIG, self.too_big),
            (_WAITS, self.waits),
            (_LINK, int(self.link_up)),
        )
