"""The contract of an architecture: what a machine of some instruction set is made of.

An arch plugin offers a factory `(VmServices, ArchOptions) -> Arch`. One `Arch` belongs to one VM and makes one `ArchVcpu` a
vCPU. The core knows vCPUs, requests and entries; registers, interrupt controllers, timers and firmware calls live here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from enum import Enum, IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from avmm.bus import Bus
from avmm.clock import Clock
from avmm.devattr import AttributeGroups, AttributeValue, no_such_attribute
from avmm.device import Device
from avmm.engine import Counter, SystemRegister, Traps, VcpuEngine
from avmm.irq import IrqChip
from avmm.lock import DeviceLock
from avmm.memory import GuestMemory, MemorySlot
from avmm.record import Record
from avmm.view import LineView, VcpuView

if TYPE_CHECKING:
    from avmm.figure import Figure, FigureValue
    from avmm.vcpu.vcpu import Vcpu


class SystemEvent(Enum):
    """What the guest asks of the whole machine (KVM_EXIT_SYSTEM_EVENT)."""

    SHUTDOWN = "shutdown"
    RESET = "reset"
    CRASH = "crash"


class VmServices(Protocol):
    """The VM as its architecture sees it."""

    name: str
    memory: GuestMemory
    bus: Bus
    clock: Clock
    device_lock: DeviceLock

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        """The VM's vCPUs made so far, by index; all of them once the VM is built."""

    def system_event(self, event: SystemEvent, detail: str = "", status: int = 0) -> None:
        """Shut down, reset or crash the whole machine. Any thread; returns at once, and no vCPU enters the guest again.

        `status` (0 to 255) is what a guest that shuts down gives as its exit status; 0 where it gives none.
        """

    def guest_fault(self, kind: str, detail: str) -> None:
        """Count (by `kind`, a small fixed set) and log, rate-limited, something odd that the guest did. Any thread."""


class Firmware(Record):
    """Firmware that a machine starts, instead of a kernel, and what the firmware is given to go on with."""

    image: Path
    variables: Path | None = None
    """The file it keeps its variables in; None: they last as long as the machine."""
    kernel: Path | None = None
    initrd: Path | None = None
    command_line: str = ""


class ArchOptions(Record):
    """What an arch factory is given: the machine's description, already checked for type."""

    cpu: str
    vcpus: int
    memory_bytes: int
    irqchip: str = ""
    """The interrupt controller by the architecture's name for it; empty for its default."""
    options: Mapping[str, object] = field(default_factory=dict)
    """The rest of the machine's `[arch]` table, for the architecture to check."""
    firmware: Firmware | None = None
    """What the machine starts, unless it starts a kernel; ConfigError where it cannot start any."""


class DevicePlace(Record):
    """A device and where it sits: on the bus, and on the interrupt controller's shared inputs (None: no interrupt)."""

    name: str
    kind: str
    """The name of the device plugin (entry point in `avmm.devices`)."""
    address: int
    irq: int | None
    device: Device | None = None
    """The device itself, once it is made."""
    options: Mapping[str, object] = field(default_factory=dict)
    """The device plugin's own settings."""


class BootImage(Record):
    """A guest that is in memory already: where it starts and what goes with it."""

    entry: int
    """Guest physical address of the first instruction."""
    end: int
    """First free guest physical address behind the image and its uninitialised data."""
    command_line: str = ""
    initrd: Path | None = None


class ArchVcpu(ABC):
    """What the architecture keeps for one vCPU. All methods run on the vCPU's own thread, outside the guest, unless said."""

    traps: Traps
    system_registers: Sequence[SystemRegister]
    counters: Sequence[Counter]
    attribute_groups: AttributeGroups = {}
    """The names of this vCPU's device attributes."""
    register_names: Sequence[str] = ()
    """The registers that its engine reads and writes by name, in the order in which one looks at them."""

    @abstractmethod
    def attach(self, engine: VcpuEngine) -> None:
        """The engine's vCPU exists now. Called once, before anything below."""

    @abstractmethod
    def flush_hwstate(self) -> None:
        """Before entry: bring timers, PMU and interrupt controller up to date and drive the engine's interrupt line."""

    @abstractmethod
    def sync_hwstate(self) -> None:
        """After an exit: take back what the guest changed."""

    @abstractmethod
    def runnable(self) -> bool:
        """True when a blocked vCPU has something to run for (kvm_arch_vcpu_runnable). Power and pause are the core's."""

    def pending_timer(self) -> bool:
        """True when a timer ends a block by itself (kvm_cpu_has_pending_timer)."""
        return False

    def blocking(self) -> None:
        """The vCPU is about to sleep: arm what must wake it (kvm_arch_vcpu_blocking)."""

    def unblocking(self) -> None:
        """The vCPU sleeps no more (kvm_arch_vcpu_unblocking)."""

    def timers_sleep(self) -> int | None:
        """The vCPU's own thread is about to sleep, and will wake for its timers by itself: when it must, or None.

        In nanoseconds of the VM's clock. Nobody else need be woken for these timers until `timers_wake()`.
        """
        return None

    def timers_wake(self) -> None:
        """The vCPU's own thread has slept, perhaps until a timer was due: bring the timers' interrupt lines up to date."""

    @abstractmethod
    def reset(self) -> None:
        """Bring this vCPU to its reset state, its engine's registers included."""

    def has_attr(self, group: int, attribute: int) -> bool:
        """True when there is such a device attribute (KVM_HAS_DEVICE_ATTR). Event loop's thread, as the two below."""
        return False

    def get_attr(self, group: int, attribute: int) -> int:
        """The value of a device attribute; OperationRefused when it cannot be read (KVM_GET_DEVICE_ATTR)."""
        raise no_such_attribute(group, attribute)

    def set_attr(self, group: int, attribute: int, value: AttributeValue) -> None:
        """Set a device attribute; OperationRefused when that cannot be (KVM_SET_DEVICE_ATTR)."""
        raise no_such_attribute(group, attribute)

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        """What the architecture counts for this vCPU, as it is now. Any thread, without a lock: reads plain integers only."""
        return ()

    def view(self) -> VcpuView:
        """What is set, driven and counting now. Any thread, with the device lock held; the guest may be running."""
        return VcpuView()


class Arch(ABC):
    """A machine of one architecture.

    `requests` is an IntEnum whose members are made with `arch_request()`; `handlers()` says who handles each.
    """

    name: str
    requests: type[IntEnum]
    irq_chip: IrqChip
    elf_machine: int
    """The ELF e_machine of its guests (183 for AArch64)."""
    image_base: int
    """Where flat images are loaded: guest physical address, before any offset the image asks for."""
    irq_inputs: int = 0
    """How many shared inputs `irq_chip` has."""

    @abstractmethod
    def memory_slots(self) -> Sequence[MemorySlot]:
        """The guest memory of this machine. Called once."""

    @abstractmethod
    def default_devices(self) -> Sequence[DevicePlace]:
        """The device plugins a machine of this kind has unless it is told otherwise (a console, say)."""

    @abstractmethod
    def place(self, name: str, kind: str, address: int | None, irq: int | None) -> DevicePlace:
        """Choose what is left open of a further device's place; ConfigError when there is no room."""

    @abstractmethod
    def create_vcpu(self, vcpu: Vcpu) -> ArchVcpu:
        """Make the architecture's part of `vcpu`. Called for every vCPU, in order, before any engine vCPU exists."""

    @abstractmethod
    def boot(self, image: BootImage, devices: Sequence[DevicePlace]) -> None:
        """Write the device tree and the initrd to memory, remember the entry, and power on vCPU 0 alone.

        Called at every start and reset, after the image is in memory and every vCPU is reset. LoadError when it does not fit.
        A machine with firmware starts that, wherever it is, and leaves `image` to it.
        """

    def handlers(self) -> Mapping[int, Callable[[Vcpu], None]]:
        """Handlers of this architecture's requests by request, in the order in which they are handled (spec 4.5)."""
        return {}

    def check(self) -> None:
        """Raise ConfigError when a vCPU must not run as things are configured. Called before a vCPU's first entry, each time."""

    def lines(self) -> tuple[LineView, ...]:
        """The interrupt lines that belong to no single vCPU. Any thread, with the device lock held."""
        return ()

    def reset(self) -> None:
        """Reset what belongs to no single vCPU (the distributor, say). Called with the device lock held, every vCPU outside."""


ArchFactory = Callable[[VmServices, ArchOptions], Arch]
