"""A virtio device on the bus: the state that every virtio-mmio interface shows (virtio 1.2, 2 and 4.2), legacy or not."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from avmm.plugin import Device, DeviceOptions, Figure, FigureKind, FigureValue, Width
from avmm_virtio.model import VirtioModel
from avmm_virtio.registers import CONFIG, MAGIC, VENDOR, Interrupt, Register, Status
from avmm_virtio.virtqueue import Virtqueue
from avmm_virtio.wakeup import Wakeup

_MASK = 0xFFFF_FFFF
_BY_OFFSET = {int(register): register for register in Register}
# Plain integers for what every request goes through: an operation on a flag looks its result up among the flags' members.
_QUEUE_NOTIFY, _INTERRUPT_STATUS = int(Register.QUEUE_NOTIFY), int(Register.INTERRUPT_STATUS)
_INTERRUPT_ACK, _WORD = int(Register.INTERRUPT_ACK), int(Width.W32)
_USED_BUFFER, _CONFIG_CHANGE = int(Interrupt.USED_BUFFER), int(Interrupt.CONFIG_CHANGE)
_DRIVER_OK = int(Status.DRIVER_OK)
_ACTIVE_MASK = int(Status.DRIVER_OK | Status.NEEDS_RESET)
_ERRORS = Figure("virtio_errors", FigureKind.COUNTER, "Rules of virtio that a driver broke; each stops the device.")
_HELP: Final = {
    "notifications": (FigureKind.COUNTER, "Times a driver notified a virtio device of available buffers."),
    "chains": (FigureKind.COUNTER, "Descriptor chains that a virtio device has used."),
    "interrupts": (FigureKind.COUNTER, "Interrupts of a virtio device for used buffers."),
    "read_bytes": (FigureKind.COUNTER, "Bytes that a virtio device took from a driver's buffers."),
    "written_bytes": (FigureKind.COUNTER, "Bytes that a virtio device put into a driver's buffers."),
    "depth": (FigureKind.GAUGE, "Descriptor chains that a virtio device works on."),
}


class VirtioTransport(Device):
    """One virtio device on the bus. Owner of all state: the device lock.

    A driver that breaks a rule stops its device: DEVICE_NEEDS_RESET stands in Status until it is reset (2.1.2), and a guest
    fault is counted.
    """

    size = 0x200
    version: int
    transport_features: int
    """Feature bits that queues and transport offer beside the model's."""

    def __init__(self, model: VirtioModel, options: DeviceOptions) -> None:
        self.model, self.name, self.memory, self.lock = model, options.name, options.memory, options.lock
        self._irq, self._guest_fault = options.irq, options.guest_fault
        self.errors = 0
        """Rules that a driver broke."""
        self.queues: Sequence[Virtqueue] = [self._new_queue(index, most) for index, most in enumerate(model.queue_sizes)]
        self._missing = self._new_queue(-1, 1)
        """What QueueSel selects when there is no such queue; QueueNumMax is 0 then."""
        self._figures = [
            {name: Figure(f"virtio_{name}", kind, text, {"queue": str(queue.index)}) for name, (kind, text) in _HELP.items()}
            for queue in self.queues
        ]
        self._later = Wakeup()
        self._notified = False
        """The model serves a notification: who holds the lock is in the access of a vCPU's."""
        self.generation = 0
        """ConfigGeneration: never the same before and after a change of the configuration (2.5)."""
        self._clear()
        model.device = self

    def _new_queue(self, index: int, maximum: int) -> Virtqueue:
        return Virtqueue(index, self.memory, maximum, self)

    def _clear(self) -> None:
        self._status = self._interrupt = self.features = 0
        self._device_features_select = self._driver_features_select = self._queue_select = 0
        for queue in (*self.queues, self._missing):
            queue.reset()

    # What a model uses.

    @property
    def active(self) -> bool:
        """True from DRIVER_OK on, until a reset or a broken rule."""
        return self._status & _ACTIVE_MASK == _DRIVER_OK

    @property
    def may_serve(self) -> bool:
        """True while the device may use buffers (2.1.2)."""
        return self.active

    def config_changed(self) -> None:
        """The model has changed its configuration: a new generation, and an interrupt for the driver (2.3, 2.4.1)."""
        self.generation = self.generation + 1 & _MASK
        if self._status & Status.DRIVER_OK:
            self._raise(_CONFIG_CHANGE)

    def broken(self, detail: str) -> None:
        """The driver broke a rule: stop until it resets the device, which it is told of with an interrupt (2.1.2)."""
        self.errors += 1
        self._guest_fault("virtio", f"{self.name}: {detail}")
        if not self._status & Status.NEEDS_RESET:
            self._status |= int(Status.NEEDS_RESET)
            for queue in (*self.queues, self._missing):
                queue.reset()
            self.model.reset()
            if self._status & Status.DRIVER_OK:
                self._raise(_CONFIG_CHANGE)

    def used_buffer(self) -> None:
        """Interrupt the driver for used buffers. Called by queues."""
        self._raise(_USED_BUFFER)

    def serve_later(self) -> None:
        """Look at all queues once more, from the event loop: more may be there than one notification is good for."""
        self._later.set()

    def afterwards(self, work: Callable[[], None]) -> bool:
        """Have `work` done on this thread once the notification is over and the device lock given up; False when nobody would.

        However often it is asked for in one notification, it is done once.
        """
        if self._notified:
            self.after_write = work
        return self._notified

    def _raise(self, what: int) -> None:
        self._interrupt |= what
        if self._irq is not None:
            self._irq.set_level(True)

    # What the machine uses.

    def reset(self) -> None:
        self._clear()
        if self._irq is not None:
            self._irq.set_level(False)
        self.model.reset()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.model.run())
            group.create_task(self._serve_later())

    async def _serve_later(self) -> None:
        while True:
            await self._later.wait()
            with self.lock:
                self._serve_all()

    def _serve_all(self) -> None:
        for queue in self.queues:
            if queue.ready and self.may_serve:
                self.model.notify(queue)
                queue.signal()

    async def quiesce(self) -> None:
        await self.model.quiesce()

    async def resume(self) -> None:
        await self.model.resume()

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        figures: list[tuple[Figure, FigureValue]] = [(_ERRORS, self.errors)]
        for queue, named in zip(self.queues, self._figures, strict=True):
            stats = queue.stats
            figures += (
                (named["notifications"], stats.notifications),
                (named["chains"], stats.used),
                (named["interrupts"], stats.interrupts),
                (named["read_bytes"], stats.bytes_read),
                (named["written_bytes"], stats.bytes_written),
                (named["depth"], stats.depth),
            )
        return (*figures, *self.model.figures())

    # Registers.

    def read(self, offset: int, width: Width) -> int:
        if offset == _INTERRUPT_STATUS and width == _WORD:
            return self._interrupt
        if offset >= CONFIG:
            return int.from_bytes(self.model.config[offset - CONFIG : offset - CONFIG + width], "little")
        register = _BY_OFFSET.get(offset)
        # Registers are accessed as aligned words (4.2.2.2); anything else reads as zero.
        return 0 if register is None or width != Width.W32 else self._read(register) & _MASK

    def write(self, offset: int, width: Width, value: int) -> None:
        if offset == _QUEUE_NOTIFY and width == _WORD:
            self._notify(value)
        elif offset == _INTERRUPT_ACK and width == _WORD:
            self._acknowledge(value)
        elif offset >= CONFIG:
            self.model.write_config(offset - CONFIG, value.to_bytes(width, "little"))
        elif (register := _BY_OFFSET.get(offset)) is not None and width == Width.W32:
            self._write(register, value)

    @property
    def _offered(self) -> int:
        return self.model.features | self.transport_features

    def _queue(self) -> Virtqueue:
        """The queue that QueueSel selects."""
        return self.queues[self._queue_select] if self._queue_select < len(self.queues) else self._missing

    def _read(self, register: Register) -> int:
        match register:
            case Register.MAGIC_VALUE:
                return MAGIC
            case Register.VERSION:
                return self.version
            case Register.DEVICE_ID:
                return self.model.device_id
            case Register.VENDOR_ID:
                return VENDOR
            case Register.DEVICE_FEATURES:
                select = self._device_features_select
                return self._offered >> 32 * select if select < 2 else 0
            case Register.QUEUE_NUM_MAX:
                queue = self._queue()
                return 0 if queue is self._missing else queue.split.maximum
            case Register.STATUS:
                return self._status
            case _:
                return self._read_own(register)

    def _write(self, register: Register, value: int) -> None:
        match register:
            case Register.DEVICE_FEATURES_SEL:
                self._device_features_select = value
            case Register.DRIVER_FEATURES_SEL:
                self._driver_features_select = value
            case Register.DRIVER_FEATURES:
                self._select_features(value)
            case Register.QUEUE_SEL:
                self._queue_select = value
            case Register.QUEUE_NUM:
                if not self._queue().ready:
                    self._queue().split.size = value
            case Register.STATUS:
                if value & 0xFF == 0:
                    self.reset()
                else:
                    self._set_status(value & 0xFF)
            case _:
                self._write_own(register, value)

    def _acknowledge(self, value: int) -> None:
        """InterruptACK (4.2.2)."""
        self._interrupt &= ~value
        if self._irq is not None:
            self._irq.set_level(bool(self._interrupt))

    def _select_features(self, value: int) -> None:
        """DriverFeatures: what the driver takes of the 32 features it has selected, until FEATURES_OK (3.1.1)."""
        select = self._driver_features_select
        if select < 2 and not self._status & Status.FEATURES_OK:
            self.features = self.features & ~(_MASK << 32 * select) | value << 32 * select

    def _set_up(self, queue: Virtqueue) -> None:
        """The driver says that `queue` is ready."""
        if queue is not self._missing and not queue.ready and not self._status & Status.NEEDS_RESET:
            self._negotiated(queue)
            if queue.enable() and self.active:
                self.model.notify(queue)  # what the driver put there before
                queue.signal()

    @abstractmethod
    def _negotiated(self, queue: Virtqueue) -> None:
        """Tell `queue` of the features that concern it."""

    def _notify(self, number: int) -> None:
        """QueueNotify (4.2.2)."""
        if number >= len(self.queues):
            return
        queue = self.queues[number]
        queue.stats.notifications += 1
        if queue.split.ready and self.may_serve:
            self._notified = True
            self.model.notify(queue)
            self._notified = False
            queue.signal()

    def _activate(self) -> None:
        self.model.activate()
        self._serve_all()

    @abstractmethod
    def _set_status(self, value: int) -> None:
        """The driver writes `value`, which is not 0, to Status."""

    @abstractmethod
    def _read_own(self, register: Register) -> int:
        """A register of this interface alone."""

    @abstractmethod
    def _write_own(self, register: Register, value: int) -> None:
        """A register of this interface alone."""
