"""A toy machine: its kernel is a text of one command a line, so that a test says what the guest does.

print TEXT | read ADDRESS | write ADDRESS VALUE | echo (until q is typed) | flood (until kicked) | spin (until kicked)
wait | off | reset | fault | raise
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum

from avmm.plugin import (
    BUDGET_EXHAUSTED,
    HALTED,
    KICKED,
    Arch,
    ArchOptions,
    ArchVcpu,
    BootImage,
    ConfigError,
    Counter,
    Device,
    DeviceOptions,
    DevicePlace,
    EngineOptions,
    Exit,
    Fault,
    Figure,
    FigureValue,
    MemorySlot,
    SystemEvent,
    SystemRegister,
    Traps,
    Vcpu,
    VcpuEngine,
    VmServices,
    Width,
    arch_request,
)

RAM, UART = 0x4000_0000, 0x900_0000
DATA, AVAILABLE = 0, 8


class ToyRequest(IntEnum):
    IRQ_PENDING = arch_request(1)


class ToyTraps:
    def __init__(self, vm: VmServices) -> None:
        self.vm = vm

    def mmio_read(self, address: int, width: int) -> int:
        return self.vm.bus.read(address, width)

    def mmio_write(self, address: int, width: int, value: int) -> None:
        self.vm.bus.write(address, width, value)

    def hypercall(self, call: object) -> None:
        raise NotImplementedError

    def tlb_flush_all(self) -> None:
        raise NotImplementedError

    def count_tlb_flushes(self, made: int, handled: int, ipis: int) -> None:
        raise NotImplementedError


class ToyVcpuEngine:
    def __init__(self, slots: Sequence[MemorySlot], traps: ToyTraps) -> None:
        self._slots, self._traps, self.instructions = slots, traps, 0
        self._kicked = threading.Event()
        self._pc = 0

    def enter(self, budget: int = 0) -> Exit:
        while not self._kicked.is_set():
            text = self._slots[0].buffer[self._pc - RAM : self._pc - RAM + 200].partition(b"\0")[0]
            line = text.partition(b"\n")[0].decode()
            self.instructions += 1
            exit_ = self._execute(line, budget)
            if exit_ is not None:
                return exit_
            self._pc += len(line) + 1
        self._kicked.clear()
        return KICKED

    def _execute(self, line: str, budget: int) -> Exit | None:
        command, _, text = line.partition(" ")
        match command:
            case "print":
                self._print(text.encode() + b"\n")
            case "echo":
                while self._traps.mmio_read(UART + AVAILABLE, 4):
                    byte = self._traps.mmio_read(UART + DATA, 4)
                    self._print(b"<%02x>" % byte)
                    if byte == ord("q"):
                        return None
                return HALTED
            case "read":
                self._print(b"%#x\n" % self._traps.mmio_read(int(text, 0), 4))
            case "write":
                address, value = text.split()
                self._traps.mmio_write(int(address, 0), 4, int(value, 0))
            case "wait":
                return HALTED
            case "flood":
                self._print(b"flood\n")
                if budget:
                    return BUDGET_EXHAUSTED
                self._pc -= len(line) + 1
            case "spin":
                if budget:
                    return BUDGET_EXHAUSTED
                self._kicked.wait()
                self._pc -= len(line) + 1
            case "off" | "reset":
                event = SystemEvent.SHUTDOWN if command == "off" else SystemEvent.RESET
                self._traps.vm.system_event(event, f"the guest said {command}")
            case "fault":
                return Fault("the toy broke")
            case "raise":
                raise RuntimeError("the engine broke")
            case _:
                return Fault(f"no such command: {line!r}")
        return None

    def _print(self, data: bytes) -> None:
        for byte in data:
            self._traps.mmio_write(UART + DATA, 4, byte)

    def kick(self) -> None:
        self._kicked.set()

    def clear_kick(self) -> None:
        self._kicked.clear()

    def set_irq_line(self, level: bool) -> None:
        pass

    def set_fiq_line(self, level: bool) -> None:
        pass

    def flush_tlb(self) -> None:
        pass

    def count_instructions(self, on: bool) -> None:
        pass

    def set_counter_offset(self, name: str, offset: int) -> None:
        pass

    def reset(self) -> None:
        self._pc = 0

    def read_register(self, name: str) -> int:
        return self._pc

    def write_register(self, name: str, value: int) -> None:
        self._pc = value

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        return ()

    def close(self) -> None:
        pass


class ToyEngine:
    name = "toy"
    max_in_guest = 1
    served_mmio = None
    exact_budgets = True

    def __init__(self, options: EngineOptions) -> None:
        if options.options:
            raise ConfigError("no such setting", key=f"engine.{next(iter(options.options))}")
        self._slots: list[MemorySlot] = []

    def map_memory(self, slot: MemorySlot) -> None:
        self._slots.append(slot)

    def unmap_memory(self, slot: MemorySlot) -> None:
        self._slots.remove(slot)

    def create_vcpu(
        self, index: int, traps: Traps, registers: Sequence[SystemRegister], counters: Sequence[Counter]
    ) -> VcpuEngine:
        assert isinstance(traps, ToyTraps)
        return ToyVcpuEngine(self._slots, traps)

    def close(self) -> None:
        pass


class ToyArchVcpu(ArchVcpu):
    system_registers: Sequence[SystemRegister] = ()
    counters: Sequence[Counter] = ()

    def __init__(self, arch: ToyArch, vm: VmServices) -> None:
        self._arch, self.traps = arch, ToyTraps(vm)

    def attach(self, engine: VcpuEngine) -> None:
        self.engine = engine

    def flush_hwstate(self) -> None:
        pass

    def sync_hwstate(self) -> None:
        pass

    def runnable(self) -> bool:
        return self._arch.irq_chip.level

    def reset(self) -> None:
        self.engine.reset()


class ToyIrqChip:
    def __init__(self, vm: VmServices) -> None:
        self._vm, self.level = vm, False

    def set_spi_level(self, number: int, level: bool) -> None:
        self.level = level
        if level:
            self._vm.vcpus[0].make_request_and_kick(ToyRequest.IRQ_PENDING)


class ToyArch(Arch):
    name = "toy"
    requests = ToyRequest
    elf_machine = 4711
    image_base = RAM
    irq_chip: ToyIrqChip

    def __init__(self, vm: VmServices, options: ArchOptions) -> None:
        self._vm, self._options, self.irq_chip = vm, options, ToyIrqChip(vm)

    def memory_slots(self) -> Sequence[MemorySlot]:
        return [MemorySlot(RAM, self._options.memory_bytes)]

    def default_devices(self) -> Sequence[DevicePlace]:
        return [DevicePlace("uart0", "toy-uart", UART, 1)]

    def place(self, name: str, kind: str, address: int | None, irq: int | None) -> DevicePlace:
        return DevicePlace(name, kind, 0xA00_0000 if address is None else address, irq)

    def create_vcpu(self, vcpu: Vcpu) -> ArchVcpu:
        return ToyArchVcpu(self, self._vm)

    def boot(self, image: BootImage, devices: Sequence[DevicePlace]) -> None:
        self._vm.vcpus[0].engine.write_register("pc", image.entry)
        self._vm.vcpus[0].power_on()

    def handlers(self) -> Mapping[int, Callable[[Vcpu], None]]:
        return {ToyRequest.IRQ_PENDING: lambda vcpu: None}


FIFO_DEPTH = 64


class ToyUart(Device):
    size = 0x1000

    def __init__(self, options: DeviceOptions) -> None:
        self._console, self._irq = options.console, options.irq
        self._typed = bytearray()
        self._console.on_input(self._on_input)

    def _on_input(self, data: bytes) -> int:
        taken = data[: FIFO_DEPTH - len(self._typed)]
        self._typed += taken
        self._drive()
        return len(taken)

    def _drive(self) -> None:
        assert self._irq is not None
        self._irq.set_level(bool(self._typed))

    def read(self, offset: int, width: Width) -> int:
        if offset == AVAILABLE or not self._typed:
            return len(self._typed)
        byte = self._typed.pop(0)
        self._console.deliver()
        self._drive()
        return byte

    def write(self, offset: int, width: Width, value: int) -> None:
        self._console.write(bytes((value,)))
