# SPDX-License-Identifier: GPL-2.0-or-later
"""One vCPU of the Unicorn engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from avmm.plugin import CountedEvent, Counter, EventLimit, Figure, FigureKind, FigureValue, SystemRegister, Traps
from avmm_unicorn._native import Machine, Vcpu

_BLOCKS = tuple(
    Figure(
        "code_blocks",
        FigureKind.COUNTER,
        "Blocks of guest code that were translated, or taken over from another vCPU or the translation cache.",
        {"source": source},
    )
    for source in ("translation", "vcpu", "cache")
)
_TLB_BROADCASTS = Figure("tlb_broadcasts", FigureKind.COUNTER, "Invalidations of TLB entries that the other vCPUs were told of.")
_CODE_BROADCASTS = Figure(
    "code_broadcasts",
    FigureKind.COUNTER,
    "Invalidations of the instruction cache that the other vCPUs were told of, and all those of the whole cache.",
)
_EXTERNAL_ABORTS = Figure("external_aborts", FigureKind.COUNTER, "External aborts that the guest took.")
_UNTRANSLATABLE = Figure(
    "untranslatable_instructions", FigureKind.COUNTER, "Instructions that were undefined because they cannot be translated."
)
_ALONE = Figure("alone_instructions", FigureKind.COUNTER, "Instructions that were made with all other vCPUs stopped.")


class UnicornVcpu(Vcpu):
    """`avmm.plugin.VcpuEngine`; what it does is native, in native/vcpu.c.

    A trap's registers are those at the trapping instruction. The interrupt line, when a memory-mapped access raises it, is
    looked at before the next block: at the latest at the next branch, barrier, exception or system register write.
    """

    counted_events = frozenset(CountedEvent)
    live_pins = True

    def __init__(
        self,
        machine: Machine,
        index: int,
        traps: Traps,
        registers: Sequence[SystemRegister],
        counters: Sequence[Counter],
        now_ns: Callable[[], int] | None,
        before_close: Callable[[], None],
    ) -> None:
        super().__init__(machine, index, traps)
        self._before_close = before_close
        # Before the first instruction is translated: translations hold on to the definitions.
        for register in registers:
            self.define_register(
                register.name,
                register.encoding,
                register.read,
                register.write,
                register.constant,
                register.el0,
                register.allowed_at_el0,
            )
        for counter in counters:
            self.define_counter(
                counter.name,
                counter.encoding,
                counter.frequency_hz,
                counter.offset,
                counter.allowed_at_el0,
                now_ns,
            )

    def close(self) -> None:
        self._before_close()
        super().close()

    def count_events(self, mask: int) -> None:
        self._count_events(mask)

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        yield from zip(_BLOCKS, (self.translated, self.taken_from_vcpus, self.taken_from_cache), strict=True)
        yield _TLB_BROADCASTS, self.tlb_broadcasts
        yield _CODE_BROADCASTS, self.code_broadcasts
        yield _EXTERNAL_ABORTS, self.external_aborts
        yield _UNTRANSLATABLE, self.untranslatable
        yield _ALONE, self.alone_instructions

    def limit_events(self, limits: Sequence[EventLimit], reached: Callable[[], None]) -> None:
        self._limit_events(tuple([(limit.event, limit.levels, limit.count) for limit in limits]), reached)
