"""A vCPU, an engine and a VM small enough to watch: what the arm64 machine does to each is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from avmm.clock import VirtualClock
from avmm.instrument import VcpuStats
from avmm.plugin import (
    KICKED,
    ArchOptions,
    Bus,
    CountedEvent,
    DeviceLock,
    Exit,
    Firmware,
    GuestMemory,
    Region,
    SystemEvent,
    SystemRegister,
    TraceHook,
    Vcpu,
    VmServices,
)
from avmm.testing.events import EventCounters
from avmm_arm64 import Arm64, create_arch
from avmm_arm64.vcpu import Arm64Vcpu

EL1H, EL0 = 0x3C5, 0


class FakeEngine(EventCounters):
    """Keeps registers in a dictionary and records the interrupt pins. The test says which events happen."""

    instructions = 0
    counted_events = frozenset(CountedEvent)

    def __init__(self) -> None:
        super().__init__()
        self.live_pins = False
        self.registers: dict[str, int] = {"pstate": EL1H}
        self.irq_line = self.fiq_line = False
        self.irq_changes: list[bool] = []
        self.resets = 0

    def enter(self, budget: int = 0) -> Exit:
        return KICKED

    def kick(self) -> None: ...

    def clear_kick(self) -> None: ...

    def set_irq_line(self, level: bool) -> None:
        self.irq_line = level
        self.irq_changes.append(level)

    def set_fiq_line(self, level: bool) -> None:
        self.fiq_line = level

    def flush_tlb(self) -> None: ...

    def count_instructions(self, on: bool) -> None: ...

    def set_counter_offset(self, name: str, offset: int) -> None: ...

    def reset(self) -> None:
        self.resets += 1
        self.registers = {"pstate": EL1H}

    def read_register(self, name: str) -> int:
        return self.registers.get(name, 0)

    def write_register(self, name: str, value: int) -> None:
        self.registers[name] = value

    def close(self) -> None: ...


class FakeVcpu:
    """What the architecture asks of a vCPU; `own_thread` says whose thread the test plays."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.stats = VcpuStats()
        self.powered_off = index != 0
        self.halts = 0
        self.own_thread = self.in_guest = False
        self.made: list[int] = []
        self.kicked: list[int] = []
        self.trace: TraceHook | None = None

    def in_own_thread(self) -> bool:
        return self.own_thread

    def reach_guest(self, act: Callable[[], None]) -> bool:
        if self.in_guest:
            act()
        return self.in_guest

    def test_request(self, request: int) -> bool:
        return request in self.kicked

    def make_request(self, request: int) -> None:
        self.made.append(request)

    def make_request_and_kick(self, request: int) -> None:
        self.kicked.append(request)

    def halt(self) -> None:
        self.halts += 1

    def power_off(self) -> None:
        self.powered_off = True

    def power_on(self) -> None:
        self.powered_off = False


class FakeVm:
    """The services of a VM, with virtual time."""

    name = "test"

    def __init__(self) -> None:
        self.fakes: list[FakeVcpu] = []
        self.memory = GuestMemory()
        self.device_lock = DeviceLock()
        self.bus = Bus(self.device_lock, self._quarantined)
        self.clock = VirtualClock(start_ns=123_456_789)
        self.events: list[tuple[SystemEvent, str]] = []
        self.faults: list[tuple[str, str]] = []

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        return cast(Sequence[Vcpu], self.fakes)

    def system_event(self, event: SystemEvent, detail: str = "") -> None:
        self.events.append((event, detail))

    def guest_fault(self, kind: str, detail: str) -> None:
        self.faults.append((kind, detail))

    def _quarantined(self, region: Region, error: Exception) -> None:
        raise error


class FakeMachine:
    """An arm64 machine built around the fakes."""

    def __init__(
        self, vcpus: int = 2, *, memory_bytes: int = 16 << 20, firmware: Firmware | None = None, **options: object
    ) -> None:
        self.vm = FakeVm()
        self.arch: Arm64 = create_arch(
            cast(VmServices, self.vm), ArchOptions("cortex-a57", vcpus, memory_bytes, "gicv3", options, firmware)
        )
        for slot in self.arch.memory_slots():
            self.vm.memory.add(slot)
        self.engines: list[FakeEngine] = []
        self.parts: list[Arm64Vcpu] = []
        for index in range(vcpus):
            vcpu = FakeVcpu(index)
            self.vm.fakes.append(vcpu)
            parts = self.arch.create_vcpu(cast(Vcpu, vcpu))
            assert isinstance(parts, Arm64Vcpu)
            engine = FakeEngine()
            parts.attach(engine)
            self.engines.append(engine)
            self.parts.append(parts)

    def register(self, index: int, name: str) -> SystemRegister:
        """System register `name` of vCPU `index`."""
        return next(register for register in self.parts[index].system_registers if register.name == name)

    def mrs(self, index: int, name: str) -> int:
        """Read a system register as vCPU `index` does."""
        register = self.register(index, name)
        if register.constant is not None:
            return register.constant
        assert register.read is not None
        return register.read()

    def msr(self, index: int, name: str, value: int) -> None:
        """Write a system register as vCPU `index` does."""
        write = self.register(index, name).write
        assert write is not None
        write(value)
