"""The virtio transport over memory-mapped registers, legacy interface (virtio 1.1, 4.2.4): version 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Final

from avmm.plugin import Device, Figure, FigureKind, FigureValue, GuestMemory, Width
from avmm_virtio.queue import Chain, QueueError, SplitQueue

MAGIC: Final = 0x7472_6976
VERSION_LEGACY: Final = 1
VENDOR: Final = 0x6D6D_7661
"""VendorID: "avmm" in little-endian ASCII."""
USED_BUFFER: Final = 1 << 0
"""InterruptStatus: the device has used a buffer."""
STATUS_NEEDS_RESET: Final = 0x40

_CONFIG = 0x100
_MASK = 0xFFFF_FFFF
_CHAINS = Figure("virtio_chains", FigureKind.COUNTER, "Descriptor chains that a virtio device has used.")
_ERRORS = Figure("virtio_errors", FigureKind.COUNTER, "Rules of the virtqueue that a driver broke; each stops the device.")


class Register(IntEnum):
    """Byte offsets of the 32-bit registers (table 4.2)."""

    MAGIC_VALUE = 0x000
    VERSION = 0x004
    DEVICE_ID = 0x008
    VENDOR_ID = 0x00C
    HOST_FEATURES = 0x010
    HOST_FEATURES_SEL = 0x014
    GUEST_FEATURES = 0x020
    GUEST_FEATURES_SEL = 0x024
    GUEST_PAGE_SIZE = 0x028
    QUEUE_SEL = 0x030
    QUEUE_NUM_MAX = 0x034
    QUEUE_NUM = 0x038
    QUEUE_ALIGN = 0x03C
    QUEUE_PFN = 0x040
    QUEUE_NOTIFY = 0x050
    INTERRUPT_STATUS = 0x060
    INTERRUPT_ACK = 0x064
    STATUS = 0x070


_BY_OFFSET = {int(register): register for register in Register}


class VirtioBackend(ABC):
    """What a virtio device does, whatever transport it is behind. Its methods run with the device lock held."""

    device_id: int
    features: int = 0
    """The feature bits offered, 64 bits (2.2)."""
    queue_sizes: Sequence[int]
    """The largest size of each of its queues."""

    @abstractmethod
    def use(self, queue: int, chain: Chain, memory: GuestMemory) -> int | None:
        """Carry out a chain that came on `queue`: the number of bytes written to it, or None when it must wait."""

    def config(self, offset: int) -> int:
        """The byte at `offset` in the device's configuration space; 0 where there is none."""
        return 0

    def reset(self) -> None:
        """The driver, or the machine, resets the device."""


class VirtioMmio(Device):
    """One virtio device on the bus. Owner of all state: the device lock.

    A driver that breaks a rule of the virtqueue stops its device: DEVICE_NEEDS_RESET stands in Status until it is reset. Queues
    are served before DRIVER_OK too, as legacy drivers expect (3.1.2).
    """

    size = 0x200

    def __init__(self, backend: VirtioBackend, memory: GuestMemory, set_irq: Callable[[bool], None]) -> None:
        self._backend, self._memory, self._set_irq = backend, memory, set_irq
        self._queues = [SplitQueue(memory, maximum) for maximum in backend.queue_sizes]
        self._missing = SplitQueue(memory, 1)
        """What QueueSel selects when there is no such queue; QueueNumMax is 0 then."""
        self.chains = self.errors = 0
        self._clear()

    def _clear(self) -> None:
        self._status = self._interrupt = 0
        self._host_select = self._guest_select = self._queue_select = 0
        self._features = 0
        self._page_size = self._align = 0
        for queue in (*self._queues, self._missing):
            queue.reset()

    def reset(self) -> None:
        self._clear()
        self._update_irq()
        self._backend.reset()

    def read(self, offset: int, width: Width) -> int:
        if offset >= _CONFIG:
            return int.from_bytes(bytes(self._backend.config(offset - _CONFIG + byte) for byte in range(width)), "little")
        register = _BY_OFFSET.get(offset)
        # Registers are accessed as aligned words (4.2.2.2); anything else reads as zero.
        if register is None or width != Width.W32:
            return 0
        return self._read(register)

    def write(self, offset: int, width: Width, value: int) -> None:
        register = _BY_OFFSET.get(offset)
        if register is not None and width == Width.W32:
            self._write(register, value)

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        return ((_CHAINS, self.chains), (_ERRORS, self.errors))

    def _queue(self) -> SplitQueue:
        return self._queues[self._queue_select] if self._queue_select < len(self._queues) else self._missing

    def _read(self, register: Register) -> int:
        match register:
            case Register.MAGIC_VALUE:
                return MAGIC
            case Register.VERSION:
                return VERSION_LEGACY
            case Register.DEVICE_ID:
                return self._backend.device_id
            case Register.VENDOR_ID:
                return VENDOR
            case Register.HOST_FEATURES:
                return self._backend.features >> 32 * self._host_select & _MASK if self._host_select < 2 else 0
            case Register.QUEUE_NUM_MAX:
                return self._queue().maximum if self._queue() is not self._missing else 0
            case Register.QUEUE_PFN:
                queue = self._queue()
                return queue.descriptors // self._page_size if queue.ready and self._page_size else 0
            case Register.INTERRUPT_STATUS:
                return self._interrupt
            case Register.STATUS:
                return self._status
            case _:
                return 0  # write-only

    def _write(self, register: Register, value: int) -> None:
        match register:
            case Register.HOST_FEATURES_SEL:
                self._host_select = value
            case Register.GUEST_FEATURES_SEL:
                self._guest_select = value
            case Register.GUEST_FEATURES:
                if self._guest_select < 2:
                    shift = 32 * self._guest_select
                    self._features = self._features & ~(_MASK << shift) | value << shift & self._backend.features
            case Register.GUEST_PAGE_SIZE:
                self._page_size = value
            case Register.QUEUE_SEL:
                self._queue_select = value
            case Register.QUEUE_NUM:
                self._queue().size = value
            case Register.QUEUE_ALIGN:
                self._align = value
            case Register.QUEUE_PFN:
                self._place_queue(value)
            case Register.QUEUE_NOTIFY:
                self._notify(value)
            case Register.INTERRUPT_ACK:
                self._interrupt &= ~value
                self._update_irq()
            case Register.STATUS:
                self._set_status(value & 0xFF)
            case _:
                pass  # read-only

    def _place_queue(self, page: int) -> None:
        """QueuePFN: the three parts of a legacy queue lie behind each other (2.6.2); 0 stops the queue."""
        queue = self._queue()
        if queue is self._missing:
            return
        if page == 0:
            queue.reset()
            return
        if not self._page_size or self._align.bit_count() != 1:
            self._stop()
            return
        queue.descriptors = page * self._page_size
        queue.available = queue.descriptors + 16 * queue.size
        end = queue.available + 6 + 2 * queue.size
        queue.used = end + self._align - 1 & -self._align
        queue.ready = True

    def _set_status(self, value: int) -> None:
        if value == 0:
            self.reset()
        else:
            self._status = value | self._status & STATUS_NEEDS_RESET

    def _notify(self, number: int) -> None:
        if number >= len(self._queues) or self._status & STATUS_NEEDS_RESET:
            return
        try:
            self._serve(number, self._queues[number])
        except QueueError:
            self._stop()

    def _serve(self, number: int, queue: SplitQueue) -> None:
        # At most as many chains as the queue holds, so that a driver on another vCPU cannot keep us here.
        for _ in range(queue.size):
            chain = queue.pop()
            if chain is None:
                return
            written = self._backend.use(number, chain, self._memory)
            if written is None:
                return
            self.chains += 1
            if queue.push(chain.head, written):
                self._interrupt |= USED_BUFFER
                self._update_irq()

    def _update_irq(self) -> None:
        self._set_irq(bool(self._interrupt))

    def _stop(self) -> None:
        self.errors += 1
        self._status |= STATUS_NEEDS_RESET
