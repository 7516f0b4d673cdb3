"""Virtio over memory-mapped registers (virtio 1.2, 4.2.2): version 2."""

from __future__ import annotations

from avmm_virtio.registers import F_EVENT_IDX, F_INDIRECT_DESC, F_RING_RESET, F_VERSION_1, Register, Status
from avmm_virtio.transport import VirtioTransport
from avmm_virtio.virtqueue import Virtqueue

_LOW, _HIGH = 0xFFFF_FFFF, 0xFFFF_FFFF << 32
_SHARED_MEMORY = frozenset(
    (Register.SHM_LEN_LOW, Register.SHM_LEN_HIGH, Register.SHM_BASE_LOW, Register.SHM_BASE_HIGH),
)


class VirtioMmio(VirtioTransport):
    """A virtio device of today; a driver that does not take VIRTIO_F_VERSION_1 gets no FEATURES_OK."""

    version = 2
    transport_features = F_VERSION_1 | F_EVENT_IDX | F_INDIRECT_DESC | F_RING_RESET

    def _negotiated(self, queue: Virtqueue) -> None:
        queue.split.event_index = bool(self.features & F_EVENT_IDX)
        queue.split.indirect = bool(self.features & F_INDIRECT_DESC)

    def _set_status(self, value: int) -> None:
        """Bits come, one step after the other (3.1.1); only a reset takes them away."""
        before = self._status
        after = before | value & ~Status.NEEDS_RESET
        new = after & ~before
        if new & Status.FEATURES_OK and not self._features_ok():
            after &= ~Status.FEATURES_OK
        if new & Status.DRIVER_OK and not after & Status.FEATURES_OK:
            self.broken("DRIVER_OK without FEATURES_OK")
            return
        self._status = int(after)
        if new & Status.DRIVER_OK and self.active:
            self._activate()

    def _features_ok(self) -> bool:
        features = self.features
        return bool(features & F_VERSION_1) and not features & ~self._offered and self.model.features_ok(features)

    def _read_own(self, register: Register) -> int:
        match register:
            case Register.QUEUE_READY:
                return self._queue().ready
            case Register.CONFIG_GENERATION:
                return self.generation
            case _ if register in _SHARED_MEMORY:
                return _LOW  # there is no such region (4.2.2)
            case _:
                return 0  # write-only, legacy, or a reset that is over: QueueReset

    def _write_own(self, register: Register, value: int) -> None:
        queue = self._queue()
        split = queue.split
        match register:
            case Register.QUEUE_READY:
                if value & 1:
                    self._set_up(queue)
                else:
                    self._take_back(queue)
            case Register.QUEUE_RESET:
                if value & 1 and self.features & F_RING_RESET:
                    self._take_back(queue)
            case _ if split.ready:
                pass  # where a queue lies is not changed while it is in use
            case Register.QUEUE_DESC_LOW:
                split.descriptors = split.descriptors & _HIGH | value
            case Register.QUEUE_DESC_HIGH:
                split.descriptors = split.descriptors & _LOW | value << 32
            case Register.QUEUE_DRIVER_LOW:
                split.available = split.available & _HIGH | value
            case Register.QUEUE_DRIVER_HIGH:
                split.available = split.available & _LOW | value << 32
            case Register.QUEUE_DEVICE_LOW:
                split.used = split.used & _HIGH | value
            case Register.QUEUE_DEVICE_HIGH:
                split.used = split.used & _LOW | value << 32
            case _:
                pass  # read-only, or legacy

    def _take_back(self, queue: Virtqueue) -> None:
        """The device does not touch `queue` any more once this returns: there is nothing to wait for."""
        if queue.ready:
            queue.reset()
            self.model.queue_reset(queue)
