"""Memory that is a device: read by the guest directly, written through the device."""

from __future__ import annotations

import mmap
from collections.abc import Callable


def _nobody(_on: bool) -> None:
    """A device without a machine around it has no guest whose reads could trap."""


class Rom:
    """`size` bytes of read-only memory in the place of a device's registers (what KVM calls a read-only memory slot).

    Loads and instruction fetches are served from `buffer`, without the device being asked; stores always come to
    `Device.write`. While `direct` is false, loads come to `Device.read`, and nothing can be executed there.
    """

    __slots__ = ("_direct", "_trap_reads", "buffer")

    def __init__(self, buffer: mmap.mmap, trap_reads: Callable[[bool], None] = _nobody) -> None:
        self.buffer = buffer
        """What the guest reads; the device writes it as it likes."""
        self._trap_reads, self._direct = trap_reads, True

    @property
    def direct(self) -> bool:
        """Whether the guest reads `buffer` without asking. Set it with the device lock held.

        A vCPU whose store the device is answering finds the change at its next load; any other vCPU within the time of a kick.
        """
        return self._direct

    @direct.setter
    def direct(self, on: bool) -> None:
        if on is not self._direct:
            self._direct = on
            self._trap_reads(not on)


def loose_rom(size: int) -> Rom:
    """A ROM that no guest sees, for a device without a machine around it."""
    return Rom(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
