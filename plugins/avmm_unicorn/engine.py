# SPDX-License-Identifier: GPL-2.0-or-later
"""The Unicorn engine of one VM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avmm.plugin import (
    ConfigError,
    Counter,
    EngineOptions,
    MemorySlot,
    OptionTable,
    ServedMmio,
    SystemRegister,
    Traps,
    VcpuEngine,
)
from avmm_unicorn import selfcheck

if TYPE_CHECKING:
    from avmm_unicorn.translation_cache import TranslationCache

CPU_MODELS = {"cortex-a57": 0, "cortex-a53": 1, "cortex-a72": 2, "max": 3}
DEFAULT_TRANSLATION_BUFFER_MB = 256
MAX_TRANSLATION_BUFFER_MB = 2047
MAX_VCPUS = 512


class UnicornEngine:
    """`avmm.plugin.Engine` on unicorn: real AArch64 at EL1 and EL0; the host is what would be EL2 and EL3.

    Options: `translation_buffer_mb` (1 to 2047, 256 by default), address space for translated code, for each vCPU; a guest
    that outgrows it is translated anew. What is kept in `translation_cache` is host code that later runs execute.
    """

    name = "unicorn"
    exact_budgets = True

    def __init__(self, options: EngineOptions) -> None:
        if options.arch != "arm64":
            raise ConfigError(f"the unicorn engine executes arm64, not {options.arch}", key="engine")
        if options.cpu not in CPU_MODELS:
            raise ConfigError(f"no CPU {options.cpu!r}; there are {', '.join(CPU_MODELS)}", key="cpu")
        table = OptionTable(options.options, "engine", "the unicorn engine", ("translation_buffer_mb",))
        buffer_mb = table.integer("translation_buffer_mb", 1, MAX_TRANSLATION_BUFFER_MB) or DEFAULT_TRANSLATION_BUFFER_MB
        selfcheck.check()
        from avmm_unicorn._native import Machine

        parallel = options.parallel and selfcheck.parallel_works()
        self.max_in_guest = MAX_VCPUS if parallel else 1
        self._machine = Machine(CPU_MODELS[options.cpu], buffer_mb << 20, parallel)
        self._cache: TranslationCache | None = None
        if options.translation_cache is not None and options.cpu != "max":
            from avmm_unicorn.translation_cache import TranslationCache

            self._cache = TranslationCache(options.translation_cache, self._machine, CPU_MODELS[options.cpu], parallel)
            self._cache.use()
        self.served_mmio: ServedMmio | None = self._machine
        self._now_ns = None if options.clock.is_host else options.clock.now_ns

    def map_memory(self, slot: MemorySlot) -> None:
        self._machine.map(slot.address, slot.buffer, read_only=slot.read_only)

    def unmap_memory(self, slot: MemorySlot) -> None:
        self._machine.unmap(slot.address)

    def trap_reads(self, slot: MemorySlot, on: bool) -> None:
        self._machine.trap_reads(slot.address, on)

    def create_vcpu(
        self, index: int, traps: Traps, registers: Sequence[SystemRegister], counters: Sequence[Counter]
    ) -> VcpuEngine:
        from avmm_unicorn.vcpu import UnicornVcpu

        return UnicornVcpu(self._machine, index, traps, registers, counters, self._now_ns, self._keep_translations)

    def _keep_translations(self) -> None:
        if self._cache is not None:
            self._cache.keep()

    def close(self) -> None:
        self._machine.close()
