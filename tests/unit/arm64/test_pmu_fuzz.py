"""Whatever is written and whatever happens, the PMU agrees with a slow one that counts event by event."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.plugin import CountedEvent
from avmm_arm64.pmu_counters import E
from avmm_arm64.pmu_events import COUNTED, PmuEvent
from tests.unit.arm64.pmu_bench import PmuBench

CYCLES, N = 31, 4
U64 = (1 << 64) - 1
NEAR = (0, 1, (1 << 32) - 3, (1 << 32) - 1, (1 << 64) - 2, U64)
EVENTS = (PmuEvent.INST_RETIRED, PmuEvent.SW_INCR, PmuEvent.CHAIN, PmuEvent.MEM_ACCESS, 0xEA)


class SlowPmu:
    """The rules as they are written, one event at a time. PMUv3p5, no AArch32."""

    def __init__(self) -> None:
        self.pmcr, self.enabled, self.interrupting, self.overflowed = 0x40, 0, 0, 0
        self.values = dict.fromkeys((*range(N), CYCLES), 0)
        self.types = dict.fromkeys((*range(N), CYCLES), 0)

    def event(self, index: int) -> int:
        return 0x11 if index == CYCLES else self.types[index] & 0xFFFF

    def count(self, index: int) -> None:
        wide = self.pmcr & (0x40 if index == CYCLES else 0x80)
        self.values[index] = self.values[index] + 1 & U64
        if not self.values[index] & (U64 if wide else U64 >> 32):
            self.overflowed |= 1 << index
            odd = index + 1
            if not wide and index % 2 == 0 and odd in self.values and self.enabled >> odd & 1 and self.event(odd) == 0x1E:
                self.count(odd)

    def happen(self, event: CountedEvent, level: int) -> None:
        if self.pmcr & 1:
            for index in self.values:
                filtered = self.types[index] >> (31 if level else 30) & 1
                if self.enabled >> index & 1 and COUNTED.get(self.event(index)) == event and not filtered:
                    self.count(index)

    def increment(self, mask: int) -> None:
        for index in range(N):
            if self.pmcr & 1 and mask & self.enabled & 1 << index and self.event(index) == 0:
                self.count(index)

    def control(self, value: int) -> None:
        self.pmcr = value & 0xF9 | 0x40
        for index in self.values:
            if value & (4 if index == CYCLES else 2):
                self.values[index] = 0

    def line(self) -> bool:
        return bool(self.pmcr & 1 and self.overflowed & self.interrupting)


VALID = 1 << CYCLES | (1 << N) - 1
indices = st.sampled_from([*range(N), CYCLES])
masks = st.one_of(st.just(U64), st.integers(0, VALID), indices.map(lambda index: 1 << index))
operations = st.one_of(
    st.tuples(st.just("control"), st.integers(0, 255)),
    st.tuples(st.sampled_from(["enable", "disable", "interrupt", "silence", "set", "clear", "increment"]), masks),
    st.tuples(st.just("value"), indices, st.sampled_from(NEAR)),
    st.tuples(st.just("type"), indices, st.sampled_from(EVENTS), st.sampled_from([0, 1, 2, 3])),
    st.tuples(
        st.just("happen"),
        st.sampled_from([CountedEvent.INSTRUCTIONS, CountedEvent.MEMORY_ACCESSES]),
        st.integers(0, 1),
        st.integers(1, 5),
    ),
)


def perform(bench: PmuBench, slow: SlowPmu, operation: tuple[str, int, int, int]) -> None:
    pmu = bench.pmu
    what, first, *rest = operation
    writes: dict[str, Callable[[int], None]] = {
        "control": pmu.write_pmcr,
        "enable": pmu.enable,
        "disable": pmu.disable,
        "interrupt": pmu.enable_interrupts,
        "silence": pmu.disable_interrupts,
        "set": pmu.set_overflowed,
        "clear": pmu.clear_overflowed,
        "increment": pmu.increment,
    }
    if what in writes:
        writes[what](first)
    match what:
        case "control":
            slow.control(first)
        case "enable":
            slow.enabled |= first & VALID
        case "disable":
            slow.enabled &= ~first
        case "interrupt":
            slow.interrupting |= first & VALID
        case "silence":
            slow.interrupting &= ~first
        case "set":
            slow.overflowed |= first & VALID
        case "clear":
            slow.overflowed &= ~first
        case "increment":
            slow.increment(first)
        case "value":
            pmu.write_counter(first, rest[0])
            slow.values[first] = rest[0]
        case "type":
            pmu.write_type(first, rest[0] | rest[1] << 30)
            slow.types[first] = rest[0] | rest[1] << 30
        case "happen":
            for _ in range(rest[1]):
                bench.happen(CountedEvent(first), 1, rest[0])
                slow.happen(CountedEvent(first), rest[0])
                assert pmu.line == slow.line(), "the line is right after every single event"


@settings(max_examples=400, deadline=None)
@given(st.lists(operations, max_size=40))
def test_the_same_as_the_slow_one(sequence: list[tuple[str, int, int, int]]) -> None:
    bench, slow = PmuBench(counters=N), SlowPmu()
    for index in range(N):
        perform(bench, slow, ("type", index, PmuEvent.CHAIN if index % 2 else PmuEvent.INST_RETIRED, 0))
        perform(bench, slow, ("value", index, (1 << 32) - 2, 0))
    perform(bench, slow, ("control", E, 0, 0))
    for operation in sequence:
        perform(bench, slow, operation)
        assert bench.pmu.line == slow.line()
    assert bench.pmu.read_overflowed() == slow.overflowed
    assert bench.pmu.read_enabled() == slow.enabled
    assert bench.pmu.read_interrupting() == slow.interrupting
    assert {index: bench.pmu.read_counter(index) for index in slow.values} == slow.values
    assert bench.pmu.read_pmcr() & 0xFF == slow.pmcr
