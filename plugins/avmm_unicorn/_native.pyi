# SPDX-License-Identifier: GPL-2.0-or-later
"""The native shim. All of it raises RuntimeError for a vCPU that is closed, or in the guest where it must be outside."""

from array import array
from collections.abc import Callable

from avmm.plugin import Debug, Exit, Fault, Traps

Encoding = tuple[int, int, int, int, int]

def load(path: str, version: int, /) -> int:
    """Load a private copy of the library and check its layout; RuntimeError with one line when it cannot be used."""

def configure(
    external_abort: type[Exception],
    undefined: type[Exception],
    engine_error: type[Exception],
    kicked: Exit,
    halted: Exit,
    yielded: Exit,
    budget_exhausted: Exit,
    debug: Callable[[int], Debug],
    fault: Callable[[str], Fault],
    /,
) -> None:
    """Hand over the objects of the core that the shim returns, raises and recognises."""

def host_features() -> bytes:
    """What of the host's CPU the library's code generator may make use of."""

class Machine:
    """What the vCPUs of one VM share: the memory slots."""

    _without: int

    def __init__(self, cpu_model: int, tb_size: int, parallel: bool = False, /) -> None: ...
    def map(self, address: int, buffer: object, read_only: bool) -> None: ...
    def unmap(self, address: int, /) -> None: ...
    def trap_reads(self, address: int, on: bool, /) -> None:
        """Trap reads of the read-only slot at `address`, or do not. The running vCPU, if it is this thread's, sees it at once."""

    def use_translations(self, contents: object, key: bytes, /) -> int:
        """Have translations taken over from the buffer `contents`: how many there are; ValueError if it is none for this key."""

    def keep_translations(self, key: bytes, least: int, most: int, /) -> bytes | None:
        """What `use_translations()` can be given, at most `most` bytes; None if less than `least` blocks were translated."""

    # `avmm.plugin.ServedMmio`
    def serve(self, address: int, words: array[int], /) -> None: ...
    def settle_with(self, settle: Callable[[int, int, int], None], /) -> None: ...
    def take(self) -> list[tuple[int, int, list[int]]]: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...

class Hypercall:
    immediate: int
    secure: bool
    def argument(self, index: int, /) -> int: ...
    def result(self, index: int, value: int, /) -> None: ...

class Vcpu:
    index: int
    instructions: int
    tlb_broadcasts: int
    code_broadcasts: int
    external_aborts: int
    untranslatable: int
    alone_instructions: int
    translated: int
    taken_from_vcpus: int
    taken_from_cache: int

    def __init__(self, machine: Machine, index: int, traps: Traps, /) -> None: ...
    def define_register(
        self,
        name: str,
        encoding: Encoding,
        read: Callable[[], int] | None,
        write: Callable[[int], None] | None,
        constant: int | None,
        el0: bool,
        allowed_at_el0: Callable[[bool], bool] | None,
    ) -> None: ...
    def define_counter(
        self,
        name: str,
        encoding: Encoding,
        frequency_hz: int,
        offset: int,
        allowed_at_el0: Callable[[], bool] | None,
        now_ns: Callable[[], int] | None,
    ) -> None: ...
    def enter(self, budget: int = 0) -> Exit: ...
    def kick(self) -> None: ...
    def clear_kick(self) -> None: ...
    def set_irq_line(self, level: bool) -> None: ...
    def set_fiq_line(self, level: bool) -> None: ...
    def flush_tlb(self) -> None: ...
    def count_instructions(self, on: bool) -> None: ...
    def set_counter_offset(self, name: str, offset: int) -> None: ...
    def _count_events(self, mask: int, /) -> None: ...
    def event_counts(self) -> tuple[int, ...]: ...
    def _limit_events(self, limits: tuple[tuple[int, int, int], ...], reached: Callable[[], None], /) -> None: ...
    def reset(self) -> None: ...
    def read_register(self, name: str) -> int: ...
    def write_register(self, name: str, value: int) -> None: ...
    def close(self) -> None: ...
