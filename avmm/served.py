"""Registers that an engine serves where the guest is, without a trap: told beforehand, or written to a queue."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Final, Protocol

SERVES_READS: Final = 1 << 32
SERVES_WRITES: Final = 1 << 33

QUEUED_NS: Final = 1_000_000
"""How long a write may wait in the queue while the guest goes on: less than anybody sees on a console."""


class ServedRegister:
    """One register of at most 32 bits, of which its device says beforehand what an access comes to. Owner: the device lock.

    Its reads give a value that they do not change, or its writes are coalesced (KVM's coalesced MMIO): they are queued, and
    come to `Device.write_coalesced` in order, before any other access that traps is answered, whichever vCPU makes it, and
    within `QUEUED_NS` while the guest goes on. The guest must not be able to see the difference: a write that moves an
    interrupt line, or changes what a served read gives, is not to be coalesced. Accesses of 64 bits, and all of them with an
    engine that serves none, come to the device as ever.
    """

    __slots__ = ("_withdrawn", "reads_counted", "words")

    def __init__(self) -> None:
        # Read by engines: what is served, in one word that changes at once; how many reads were.
        self.words = array("Q", (0, 0))
        self.reads_counted = 0
        """How many of the reads served are in the device's counter."""
        self._withdrawn = False

    def tell(self, *, reads_as: int | None = None, coalesces: bool = False) -> None:
        """From now on, reads give `reads_as` (unsigned, 32 bits) and writes are coalesced; or come to the device.

        The vCPU whose access the device is answering finds that at its next access, and any other that learns of the access.
        """
        if not self._withdrawn:
            self.words[0] = (0 if reads_as is None else SERVES_READS | reads_as) | SERVES_WRITES * coalesces

    def withdraw(self) -> None:
        """Have every access come to the device from now on, whatever it tells."""
        self._withdrawn = True
        self.words[0] = 0

    @property
    def reads(self) -> int:
        """How many reads were served. Any thread."""
        return self.words[1]


class ServedMmio(Protocol):
    """What an engine offers that can serve registers."""

    def serve(self, address: int, words: array[int]) -> None:
        """Serve the register at guest physical `address` as `words` says (`ServedRegister.words`). Called before any entry.

        An access of 1, 2 or 4 bytes at exactly that address. `words[0]`: with `SERVES_READS`, a read gives the low 32 bits, as
        far as it is wide, and counts in `words[1]`; with `SERVES_WRITES`, a write is queued while there is room. It changes on
        any thread.
        """

    def settle_with(self, settle: Callable[[int, int, int], None]) -> None:
        """Have `settle(vcpu, reads, writes)` called before a trap's handler and at the end of `enter()`, on its thread.

        Whenever accesses of this vCPU were served since the last call, which then counts them, or the queue is not empty.
        """

    def take(self) -> Sequence[tuple[int, int, list[int]]]:
        """Empty the queue: (address, width, values) of each run of writes to one register, in order. Any thread."""

    def fileno(self) -> int:
        """A descriptor that is readable when a write has been in the queue for `QUEUED_NS`."""


def loose_register(_offset: int) -> ServedRegister:
    """A register that no engine serves, for a device without a machine around it (`DeviceOptions.serve_register`)."""
    return ServedRegister()
