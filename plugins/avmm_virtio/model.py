"""What a kind of virtio device does, whatever transport it is behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from avmm.plugin import Figure, FigureValue
from avmm_virtio.virtqueue import Virtqueue

if TYPE_CHECKING:
    from avmm_virtio.transport import VirtioTransport


class VirtioModel(ABC):
    """A device model: a block device, a network card.

    Synchronous methods run with the device lock held, on any thread, and must not wait; the coroutines run on the event loop
    without it, and take `self.device.lock` (never across an await) before they touch a queue or guest memory.
    """

    device_id: int
    """The device type (virtio 1.2, 5)."""
    features: int = 0
    """The device's own feature bits, up to 2**24 and from 2**50 on (2.2); those of queues and transport are added by itself."""
    queue_sizes: Sequence[int]
    """The largest size of each of its queues, powers of 2."""
    config: bytes = b""
    """The device's configuration space, little-endian. Change it under the lock, then call `self.device.config_changed()`."""
    device: VirtioTransport
    """The device this model is the inside of: its queues, lock and negotiated features. Set once, before anything is called."""

    def features_ok(self, features: int) -> bool:
        """False to refuse this selection of the features that are offered (2.2.2)."""
        return True

    def activate(self) -> None:
        """The driver is ready (DRIVER_OK). `notify` follows for every queue that is set up."""

    @abstractmethod
    def notify(self, queue: Virtqueue) -> None:
        """The driver has put something into `queue`: take `queue.chains()`, or wake a coroutine that does.

        What was pushed when this returns is signalled by itself; whatever is pushed later needs a `queue.signal()`.
        """

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver writes `data` (1, 2, 4 or 8 bytes) to the configuration space."""

    def queue_reset(self, queue: Virtqueue) -> None:
        """`queue` alone was reset (2.6.1): forget its chains, which are not current any more."""

    def reset(self) -> None:
        """The driver, or the machine, has reset the device: forget all chains, which are not current any more."""

    async def run(self) -> None:
        """Live beside the guest, from the machine's start until cancelled."""

    async def quiesce(self) -> None:
        """The machine pauses: return once nothing is under way, start nothing new until `resume`."""

    async def resume(self) -> None:
        """The machine goes on; look at the queues, notifications may have been left."""

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        """What the model counts beside its queues, as it is now. Any thread, without a lock."""
        return ()
