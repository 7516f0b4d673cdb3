# SPDX-License-Identifier: GPL-2.0-or-later
"""One vCPU of the Unicorn engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from avmm.plugin import CountedEvent, Counter, EventLimit, SystemRegister, Traps
from avmm_unicorn._native import Machine, Vcpu


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

    def limit_events(self, limits: Sequence[EventLimit], reached: Callable[[], None]) -> None:
        self._limit_events(tuple([(limit.event, limit.levels, limit.count) for limit in limits]), reached)
