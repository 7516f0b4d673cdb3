"""A guest of a few instructions on the Unicorn engine: 1 MiB of memory, traps that write down what reaches them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from avmm import plugin
from avmm.clock import VirtualClock
from avmm.plugin import (
    Counter,
    EngineOptions,
    Hypercall,
    MemorySlot,
    SystemRegister,
    VcpuEngine,
)
from avmm_unicorn import create_engine
from tests.unit.unicorn import programs

RAM = 0x4000_0000
RAM_SIZE = 0x10_0000
CODE = RAM
FUNCTION = RAM + 0x4000
DATA = RAM + 0x8000
TABLES = RAM + 0x1_0000
VECTORS = RAM + 0x800
DEVICE = 0x0900_0000
DEADLINE = 200_000
"""Instructions after which a test that should long be over is stopped."""

REGISTER = (3, 3, 15, 2, 0)
CNTVCT_EL0 = (3, 3, 14, 0, 2)


class Traps:
    """Answers with what the test put in, and writes down the rest."""

    def __init__(self) -> None:
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int, int]] = []
        self.calls: list[tuple[int, bool, int, int]] = []
        self.tlb_flushes = self.flushes_made = self.flushes_handled = self.flush_ipis = 0
        self.on_read: Callable[[int, int], int] = lambda address, width: 0
        self.on_write: Callable[[int, int, int], None] = lambda address, width, value: None
        self.on_call: Callable[[Hypercall], None] = lambda call: None

    def mmio_read(self, address: int, width: int) -> int:
        self.reads.append((address, width))
        return self.on_read(address, width)

    def mmio_write(self, address: int, width: int, value: int) -> None:
        self.writes.append((address, width, value))
        self.on_write(address, width, value)

    def hypercall(self, call: Hypercall) -> None:
        self.calls.append((call.immediate, call.secure, call.argument(0), call.argument(1)))
        self.on_call(call)

    def tlb_flush_all(self) -> None:
        self.tlb_flushes += 1

    def count_tlb_flushes(self, made: int, handled: int, ipis: int) -> None:
        self.flushes_made, self.flushes_handled = self.flushes_made + made, self.flushes_handled + handled
        self.flush_ipis += ipis


class HostTime:
    """The host's clock, as far as an engine looks at it."""

    def __init__(self, *, is_host: bool = True, now_ns: int = 0) -> None:
        self.is_host, self._now_ns = is_host, now_ns

    def now_ns(self) -> int:
        return self._now_ns


class Guest:
    """One VM on the engine, without the rest of avmm. A context manager."""

    def __init__(
        self,
        *,
        vcpus: int = 1,
        cpu: str = "cortex-a57",
        registers: Sequence[SystemRegister] = (),
        counters: Sequence[Counter] = (),
        clock: HostTime | None = None,
        options: dict[str, object] | None = None,
        make_traps: Callable[[], plugin.Traps] = Traps,
        parallel: bool = False,
        translation_cache: Path | None = None,
    ) -> None:
        chosen = VirtualClock()
        engine_options = EngineOptions(
            "arm64",
            cpu,
            chosen if clock is None else clock,  # type: ignore[arg-type]
            {"translation_buffer_mb": 8} if options is None else options,
            parallel,
            translation_cache,
        )
        self.engine = create_engine(engine_options)
        self.slot = MemorySlot(RAM, RAM_SIZE)
        self.engine.map_memory(self.slot)
        made = [make_traps() for _ in range(vcpus)]
        self.traps = [traps for traps in made if isinstance(traps, Traps)]
        self.vcpus: list[VcpuEngine] = [
            self.engine.create_vcpu(index, traps, registers, counters) for index, traps in enumerate(made)
        ]
        self.vectors(programs.VECTOR)
        for vcpu in self.vcpus:
            vcpu.write_register("vbar_el1", VECTORS)
            vcpu.write_register("sp", RAM + RAM_SIZE)
            vcpu.write_register("pc", CODE)

    @property
    def vcpu(self) -> VcpuEngine:
        return self.vcpus[0]

    @property
    def trap(self) -> Traps:
        return self.traps[0]

    def load(self, address: int, program: Sequence[int]) -> None:
        data = b"".join(word.to_bytes(4, "little") for word in program)
        self.write(address, data)

    def vectors(self, program: Sequence[int]) -> None:
        for offset in range(0, 0x800, 0x80):
            self.load(VECTORS + offset, program)

    def write(self, address: int, data: bytes) -> None:
        self.slot.buffer[address - RAM : address - RAM + len(data)] = data

    def read64(self, address: int) -> int:
        return int.from_bytes(self.slot.buffer[address - RAM : address - RAM + 8], "little")

    def start(self, program: Sequence[int], *, vcpu: int = 0, **registers: int) -> None:
        """Put `program` at the start of memory, and the vCPU there."""
        self.load(CODE, program)
        self.go(CODE, vcpu=vcpu, **registers)

    def go(self, address: int, *, vcpu: int = 0, **registers: int) -> None:
        for name, value in {"pc": address, **registers}.items():
            self.vcpus[vcpu].write_register(name, value)

    def registers(self, *names: str, vcpu: int = 0) -> tuple[int, ...]:
        return tuple(self.vcpus[vcpu].read_register(name) for name in names)

    def close(self) -> None:
        for vcpu in self.vcpus:
            vcpu.close()
        self.engine.close()
        self.slot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
