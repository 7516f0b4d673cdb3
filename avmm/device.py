"""Devices: what sits on the bus of memory-mapped registers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from enum import IntEnum
from typing import TYPE_CHECKING

from avmm.clock import Clock
from avmm.console import Console
from avmm.irq import IrqLine
from avmm.lock import DeviceLock
from avmm.memory import GuestMemory
from avmm.record import Record
from avmm.rom import Rom, loose_rom
from avmm.served import ServedRegister, loose_register

if TYPE_CHECKING:
    from avmm.figure import Figure, FigureValue


class Width(IntEnum):
    """The size of a register access, in bytes."""

    W8 = 1
    W16 = 2
    W32 = 4
    W64 = 8


class Device(ABC):
    """A device with memory-mapped registers.

    `read`, `write` and `reset` run with the VM's device lock held: they never run at the same time, and must not wait. They may
    run on any thread. A device that needs the outside world overrides `run`.
    """

    size: int
    """How many bytes of guest physical address space the registers take."""
    after_write: Callable[[], None] | None = None
    """Set by `write`: what is left to do on the thread that writes, once it has given the device lock up. Called once.

    It may take the time of a system call that mostly returns at once, for which nobody but the vCPU that wrote waits.
    """
    power_button: Callable[[], None] | None = None
    """Presses the machine's power button, where the device is one. Called with the device lock held; returns at once."""

    @abstractmethod
    def read(self, offset: int, width: Width) -> int:
        """The value of the register at byte `offset`. Bits beyond `width` are dropped."""

    @abstractmethod
    def write(self, offset: int, width: Width, value: int) -> None:
        """Write `value` (unsigned, `width` bytes) to the register at byte `offset`."""

    def write_coalesced(self, offset: int, width: Width, values: Sequence[int]) -> None:
        """Writes of a `ServedRegister` that were coalesced, oldest first: as if `write` were called with each of `values`.

        With the device lock held. They come here even if the device has told something else since they were queued.
        """
        for value in values:
            self.write(offset, width, value)

    def reset(self) -> None:
        """Go back to the state after power-on. Interrupt lines go low."""

    async def run(self) -> None:
        """Live beside the guest, from `Vm.start` until cancelled at its end; override to talk to the outside world."""

    async def quiesce(self) -> None:
        """The VM pauses: finish what is under way, start nothing new until `resume`. The guest is outside already."""

    async def resume(self) -> None:
        """The VM goes on."""

    def close(self) -> None:
        """Give back what the device holds of the host. Called once, when the VM is taken apart; no method is called after it."""

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        """What the device counts, as it is now. Any thread, without a lock: reads plain integers only."""
        return ()


def _stay_on(detail: str, status: int) -> None:
    """A device without a machine around it has nothing to shut down."""


def _uncounted(kind: str, detail: str) -> None:
    """A device without a machine around it has nobody to tell of its guest."""


class DeviceOptions(Record):
    """What a device factory is given."""

    name: str
    clock: Clock
    lock: DeviceLock
    """The VM's device lock, for a device whose own coroutine or callbacks touch its registers' state."""
    console: Console
    """The VM's console, for a device that is one."""
    irq: IrqLine | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    """The rest of the machine's `[devices.NAME]` table, for the device to check."""
    memory: GuestMemory = field(default_factory=GuestMemory)
    """The guest's memory, for a device that reads and writes it by itself (DMA)."""
    shut_down: Callable[[str, int], None] = _stay_on
    """Shut the machine down: why, in one line, and the guest's exit status (0 to 255). Any thread; returns at once."""
    guest_fault: Callable[[str, str], None] = _uncounted
    """Count (by kind, a small fixed set) and log, rate-limited, something odd that the guest did. Any thread."""
    make_rom: Callable[[int], Rom] = loose_rom
    """Memory of so many bytes in the place of the device's registers: see `Rom`. ConfigError when it cannot be there."""
    serve_register: Callable[[int], ServedRegister] = loose_register
    """The register at byte `offset` as one that is served without a trap, where the engine can: see `ServedRegister`."""


DeviceFactory = Callable[[DeviceOptions], Device]
