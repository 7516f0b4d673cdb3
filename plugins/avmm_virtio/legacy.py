"""The legacy interface of virtio-mmio (virtio 1.2, 4.2.4): version 1, for drivers older than the standard."""

from __future__ import annotations

from avmm_virtio.registers import F_EVENT_IDX, F_INDIRECT_DESC, Register, Status
from avmm_virtio.transport import VirtioTransport
from avmm_virtio.virtqueue import Virtqueue

_LEGACY_FEATURES = 0xFFFF_FFFF
"""Only the first 32 feature bits exist (2.2.3)."""


class LegacyVirtioMmio(VirtioTransport):
    """A virtio device as drivers knew it before version 1.0. Queues are served before DRIVER_OK too, as they expect (3.1.2)."""

    version = 1
    transport_features = F_EVENT_IDX | F_INDIRECT_DESC

    def _clear(self) -> None:
        super()._clear()
        self._page_size = self._align = 0

    @property
    def _offered(self) -> int:
        return super()._offered & _LEGACY_FEATURES

    def _negotiated(self, queue: Virtqueue) -> None:
        self.features &= self._offered
        queue.split.event_index = bool(self.features & F_EVENT_IDX)
        queue.split.indirect = bool(self.features & F_INDIRECT_DESC)

    @property
    def may_serve(self) -> bool:
        return not self._status & Status.NEEDS_RESET

    def _set_status(self, value: int) -> None:
        new = value & ~self._status & ~Status.FEATURES_OK
        self._status = int(value & ~Status.FEATURES_OK & ~Status.NEEDS_RESET | self._status & Status.NEEDS_RESET)
        if new & Status.DRIVER_OK and self.active:
            self._activate()

    def _read_own(self, register: Register) -> int:
        if register is Register.QUEUE_PFN:
            queue = self._queue()
            return queue.split.descriptors // self._page_size if queue.ready and self._page_size else 0
        return 0  # write-only, or not of this interface

    def _write_own(self, register: Register, value: int) -> None:
        match register:
            case Register.GUEST_PAGE_SIZE:
                self._page_size = value
            case Register.QUEUE_ALIGN:
                self._align = value
            case Register.QUEUE_PFN:
                self._place(self._queue(), value)
            case _:
                pass  # read-only, or not of this interface

    def _place(self, queue: Virtqueue, page: int) -> None:
        """QueuePFN: the three parts of a legacy queue lie behind each other (2.7.2); 0 takes the queue back."""
        if queue is self._missing:
            return
        if page == 0:
            queue.reset()
            self.model.queue_reset(queue)
            return
        if queue.ready:
            return  # where a queue lies is not changed while it is in use
        if not self._page_size or self._align.bit_count() != 1:
            self.broken(f"queue {queue.index}: pages of {self._page_size} bytes, an alignment of {self._align}")
            return
        split = queue.split
        split.descriptors = page * self._page_size
        split.available = split.descriptors + 16 * split.size
        end = split.available + 6 + 2 * split.size
        split.used = end + self._align - 1 & -self._align
        self._set_up(queue)
