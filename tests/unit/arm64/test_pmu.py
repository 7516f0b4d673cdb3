"""The PMU's registers and counters, rule by rule (Arm DDI 0487, "The Performance Monitors Extension")."""

from __future__ import annotations

import pytest

from avmm.plugin import CountedEvent
from avmm_arm64.pmu_counters import DP, LC, LP, TYPE_P, TYPE_U, C, D, E, P, X
from avmm_arm64.pmu_events import COUNTED, EventRange, EventRules, PmuEvent, pmceid
from tests.unit.arm64.pmu_bench import EL0, EL1, PmuBench

CYCLES = 31
U32, U64 = (1 << 32) - 1, (1 << 64) - 1
INST, SW, CHAIN = PmuEvent.INST_RETIRED, PmuEvent.SW_INCR, PmuEvent.CHAIN
RO = 0x4101 << 16 | 6 << 11
NSH, NSK, NSU, M = 1 << 27, 1 << 29, 1 << 28, 1 << 26


@pytest.fixture
def bench() -> PmuBench:
    return PmuBench()


class TestControl:
    def test_reset(self, bench: PmuBench) -> None:
        pmu = bench.pmu
        assert pmu.read_pmcr() == RO | LC, "disabled; LC is RES1 without AArch32"
        assert (pmu.read_enabled(), pmu.read_interrupting(), pmu.read_overflowed()) == (0, 0, 0)
        assert (pmu.userenr, pmu.select) == (0, 0)
        assert not bench.lines

    @pytest.mark.parametrize(
        ("version", "aarch32", "reads"),
        [
            (6, False, E | D | X | DP | LC | LP),
            (6, True, E | D | X | DP | LC | LP),
            (4, False, E | D | X | DP | LC),
            (1, True, E | D | X | DP | LC),
        ],
    )
    def test_what_can_be_written(self, version: int, aarch32: bool, reads: int) -> None:
        pmu = PmuBench(version=version, aarch32=aarch32).pmu
        pmu.write_pmcr(U64)
        assert pmu.read_pmcr() == RO | reads, "P and C read as zero; N, IDCODE and IMP stay"
        pmu.write_pmcr(0)
        assert pmu.read_pmcr() == RO | (0 if aarch32 else LC)

    @pytest.mark.parametrize("counters", [0, 1, 6, 31])
    def test_n_and_what_follows_from_it(self, counters: int) -> None:
        pmu = PmuBench(counters=counters).pmu
        valid = 1 << CYCLES | (1 << counters) - 1
        assert pmu.read_pmcr() >> 11 & 31 == counters
        pmu.enable(U64)
        pmu.enable_interrupts(U64)
        pmu.set_overflowed(U64)
        assert (pmu.read_enabled(), pmu.read_interrupting(), pmu.read_overflowed()) == (valid,) * 3
        assert [pmu.has_counter(index) for index in range(32)] == [bool(valid >> index & 1) for index in range(32)]

    def test_set_and_clear_are_one_state(self, bench: PmuBench) -> None:
        pmu = bench.pmu
        for set_, clear, read in (
            (pmu.enable, pmu.disable, pmu.read_enabled),
            (pmu.enable_interrupts, pmu.disable_interrupts, pmu.read_interrupting),
            (pmu.set_overflowed, pmu.clear_overflowed, pmu.read_overflowed),
        ):
            set_(0b1011)
            set_(0)
            clear(0b0010)
            clear(0)
            assert read() == 0b1001

    def test_p_resets_the_event_counters_alone(self, bench: PmuBench) -> None:
        for index in (*range(6), CYCLES):
            bench.pmu.write_counter(index, 5)
        bench.pmu.set_overflowed(U64)
        bench.pmu.write_pmcr(P)
        assert [bench.pmu.read_counter(index) for index in (*range(6), CYCLES)] == [0] * 6 + [5]
        assert bench.pmu.read_overflowed() == 1 << CYCLES | 0x3F

    def test_c_resets_the_cycle_counter_alone(self, bench: PmuBench) -> None:
        for index in (0, CYCLES):
            bench.pmu.write_counter(index, 5)
        bench.pmu.set_overflowed(U64)
        bench.pmu.write_pmcr(C)
        assert (bench.pmu.read_counter(0), bench.pmu.read_counter(CYCLES)) == (5, 0)
        assert bench.pmu.read_overflowed() == 1 << CYCLES | 0x3F

    def test_p_and_c_take_effect_while_counting(self, bench: PmuBench) -> None:
        bench.counter(0, INST)
        bench.pmu.enable(1 << CYCLES)
        bench.pmu.write_pmcr(E)
        bench.run(10)
        bench.pmu.write_pmcr(E | P | C)
        bench.run(3)
        assert (bench.pmu.read_counter(0), bench.pmu.read_counter(CYCLES)) == (3, 3)

    def test_neither_d_nor_x_nor_dp_does_anything(self, bench: PmuBench) -> None:
        bench.pmu.enable(1 << CYCLES)
        bench.pmu.write_pmcr(E | D | X | DP)
        bench.run(64)
        assert bench.pmu.read_counter(CYCLES) == 64

    def test_select_and_userenr(self, bench: PmuBench) -> None:
        bench.pmu.write_select(U64)
        bench.pmu.write_userenr(U64)
        assert (bench.pmu.select, bench.pmu.userenr) == (31, 15)


class TestTypes:
    @pytest.mark.parametrize(("version", "events"), [(1, 0x3FF), (4, 0xFFFF), (6, 0xFFFF)])
    @pytest.mark.parametrize("index", [0, 5, CYCLES])
    def test_what_can_be_written(self, version: int, events: int, index: int) -> None:
        pmu = PmuBench(version=version).pmu
        pmu.write_type(index, U64)
        assert pmu.read_type(index) == TYPE_P | TYPE_U | events, "no EL2 and no EL3: NSH, NSK, NSU and M are RES0"

    def test_an_unknown_event_counts_nothing_and_keeps_its_register(self, bench: PmuBench) -> None:
        bench.counter(0, 0xEA, 0xDEADBEEF)
        bench.pmu.write_pmcr(E)
        for event in CountedEvent:
            bench.happen(event, 100)
        assert (bench.pmu.read_type(0), bench.pmu.read_counter(0)) == (0xEA, 0xDEADBEEF)

    def test_another_event_goes_on_from_the_same_value(self, bench: PmuBench) -> None:
        bench.counter(0, INST, 100)
        bench.pmu.write_pmcr(E)
        bench.run(5)
        bench.pmu.write_type(0, PmuEvent.LD_RETIRED)
        bench.run(7)
        bench.happen(CountedEvent.LOADS, 2)
        assert bench.pmu.read_counter(0) == 107

    def test_the_cycle_counter_counts_cycles_whatever_its_type_says(self, bench: PmuBench) -> None:
        bench.counter(CYCLES, SW)
        bench.pmu.write_pmcr(E)
        bench.run(9)
        bench.pmu.increment(U64)
        assert bench.pmu.read_counter(CYCLES) == 9

    @pytest.mark.parametrize(("event", "counted"), COUNTED.items())
    def test_every_event_counts_what_it_should(self, bench: PmuBench, event: int, counted: CountedEvent) -> None:
        bench.counter(0, event)
        bench.pmu.write_pmcr(E)
        for times, other in enumerate(CountedEvent, start=1):
            bench.happen(other, times)
        assert bench.pmu.read_counter(0) == counted + 1

    @pytest.mark.parametrize("event", [PmuEvent.STALL, PmuEvent.STALL_FRONTEND, PmuEvent.STALL_BACKEND])
    def test_there_are_no_stalls(self, bench: PmuBench, event: int) -> None:
        bench.counter(0, event)
        bench.pmu.write_pmcr(E)
        bench.run(1000)
        assert bench.pmu.read_counter(0) == 0

    @pytest.mark.parametrize(
        ("filters", "el0", "el1"),
        [(0, 1, 1), (TYPE_U, 0, 1), (TYPE_P, 1, 0), (TYPE_U | TYPE_P, 0, 0), (NSH | NSK | NSU | M, 1, 1)],
    )
    @pytest.mark.parametrize("index", [0, CYCLES])
    def test_filters_by_exception_level(self, bench: PmuBench, index: int, filters: int, el0: int, el1: int) -> None:
        bench.counter(index, INST, filters=filters)
        bench.pmu.write_pmcr(E)
        bench.run(3, EL0)
        bench.run(5, EL1)
        assert bench.pmu.read_counter(index) == 3 * el0 + 5 * el1


class TestCounting:
    def test_only_with_e_and_enabled(self, bench: PmuBench) -> None:
        bench.pmu.write_type(0, INST)
        bench.run(1)
        bench.pmu.enable(1)
        bench.run(10)
        assert not bench.mask, "nobody counts: the engine does not either"
        bench.pmu.write_pmcr(E)
        bench.run(100)
        bench.pmu.disable(1)
        bench.run(1000)
        bench.pmu.enable(1)
        bench.run(10000)
        bench.pmu.write_pmcr(0)
        bench.run(100000)
        assert bench.pmu.read_counter(0) == 10100
        assert not bench.mask

    def test_counters_count_apart(self, bench: PmuBench) -> None:
        bench.counter(0, INST)
        bench.counter(1, PmuEvent.MEM_ACCESS)
        bench.counter(2, INST, filters=TYPE_U)
        bench.pmu.write_pmcr(E)
        bench.run(4, EL0)
        bench.run(6)
        bench.happen(CountedEvent.MEMORY_ACCESSES, 3)
        assert [bench.pmu.read_counter(index) for index in range(3)] == [10, 3, 6]

    def test_a_write_while_counting_takes_effect_at_once(self, bench: PmuBench) -> None:
        bench.counter(0, INST, 50)
        bench.pmu.write_pmcr(E)
        bench.run(5)
        bench.pmu.write_counter(0, U32)
        bench.run(2)
        assert bench.pmu.read_counter(0) == 1 << 32 | 1
        assert bench.pmu.read_overflowed() == 1

    @pytest.mark.parametrize(("version", "value"), [(4, U32), (6, U64)])
    def test_event_counters_have_64_bits_since_v3p5(self, version: int, value: int) -> None:
        pmu = PmuBench(version=version).pmu
        pmu.write_counter(0, U64)
        pmu.write_counter(CYCLES, U64)
        assert (pmu.read_counter(0), pmu.read_counter(CYCLES)) == (value, U64)

    def test_a_reset_stops_counting(self, bench: PmuBench) -> None:
        bench.counter(0, INST)
        bench.pmu.enable_interrupts(1)
        bench.pmu.set_overflowed(1)
        bench.pmu.write_pmcr(E)
        assert bench.lines == [True]
        bench.pmu.reset()
        assert bench.lines == [True, False]
        assert bench.mask == 0
        bench.run(5)
        assert bench.pmu.read_counter(0) == 0


class TestOverflow:
    @pytest.mark.parametrize("version", [4, 6])
    def test_32_bits(self, version: int) -> None:
        bench = PmuBench(version=version)
        bench.counter(0, INST, U32 - 1)
        bench.pmu.write_pmcr(E)
        bench.run(1)
        assert bench.pmu.read_overflowed() == 0
        bench.run(1)
        assert bench.pmu.read_overflowed() == 1, "also without an interrupt"
        bench.run(3)
        assert bench.pmu.read_counter(0) == (3 if version == 4 else (1 << 32) + 3), "v3p5 goes on counting beyond"

    def test_64_bits_with_lp(self, bench: PmuBench) -> None:
        bench.counter(0, INST, U32)
        bench.counter(1, INST, U64)
        bench.pmu.write_pmcr(E | LP)
        bench.run(1)
        assert (bench.pmu.read_counter(0), bench.pmu.read_counter(1)) == (1 << 32, 0)
        assert bench.pmu.read_overflowed() == 0b10

    def test_lp_does_not_exist_before_v3p5(self) -> None:
        bench = PmuBench(version=5)
        bench.counter(0, INST, U32)
        bench.pmu.write_pmcr(E | LP)
        bench.run(1)
        assert bench.pmu.read_overflowed() == 1

    @pytest.mark.parametrize(("lc", "value", "overflows"), [(0, U32, 1), (0, U64, 1), (LC, U32, 0), (LC, U64, 1)])
    def test_the_cycle_counter(self, lc: int, value: int, overflows: int) -> None:
        bench = PmuBench(aarch32=True)
        bench.counter(CYCLES, 0, value)
        bench.pmu.write_pmcr(E | lc)
        bench.run(1)
        assert bench.pmu.read_overflowed() == overflows << CYCLES
        assert bench.pmu.overflows == [0, overflows]
        assert bench.pmu.read_counter(CYCLES) == value + 1 & U64, "always 64 bits wide"

    def test_lp_is_not_for_the_cycle_counter_nor_lc_for_the_others(self) -> None:
        bench = PmuBench(aarch32=True)
        bench.counter(CYCLES, 0, U32)
        bench.counter(0, INST, U32)
        bench.pmu.write_pmcr(E | LP)
        bench.run(1)
        assert bench.pmu.read_overflowed() == 1 << CYCLES
        bench.pmu.write_counter(CYCLES, U32)
        bench.pmu.write_counter(0, U32)
        bench.pmu.clear_overflowed(U64)
        bench.pmu.write_pmcr(E | LC)
        bench.run(1)
        assert bench.pmu.read_overflowed() == 1

    def test_any_number_of_wraps_at_once(self, bench: PmuBench) -> None:
        bench.chain(0, U32, 5)
        bench.pmu.write_pmcr(E)
        bench.happened(CountedEvent.INSTRUCTIONS, EL1, 3 << 32)
        assert bench.pmu.read_counter(1) == 8


class TestChain:
    def test_the_odd_counter_counts_the_even_ones_overflows(self, bench: PmuBench) -> None:
        bench.chain(0, U32, 0)
        bench.pmu.write_pmcr(E)
        bench.run(1)
        assert bench.pmu.read_counter(1) == 1
        assert bench.pmu.read_overflowed() == 0b01, "the even one's overflow shows"
        bench.pmu.write_counter(0, U32)
        bench.run(1)
        assert bench.pmu.read_counter(1) == 2

    def test_the_odd_counter_overflows_too(self, bench: PmuBench) -> None:
        bench.chain(2, U32, U32)
        bench.pmu.write_pmcr(E)
        bench.run(1)
        assert bench.pmu.read_counter(3) == 1 << 32
        assert bench.pmu.read_overflowed() == 0b1100
        assert bench.pmu.overflows == [2, 0]

    @pytest.mark.parametrize("off", [0, 1])
    def test_both_must_be_enabled(self, bench: PmuBench, off: int) -> None:
        bench.chain(0, U32, 0)
        bench.pmu.disable(1 << off)
        bench.pmu.write_pmcr(E)
        bench.run(1)
        assert bench.pmu.read_counter(1) == 0
        assert bench.pmu.read_overflowed() == off, "only the even one, if it runs"

    def test_not_with_64_bit_overflow(self, bench: PmuBench) -> None:
        bench.chain(0, U64, 7)
        bench.pmu.write_pmcr(E | LP)
        bench.run(1)
        assert bench.pmu.read_overflowed() == 1
        assert bench.pmu.read_counter(1) == 7

    def test_only_from_an_even_counter_to_the_next(self, bench: PmuBench) -> None:
        bench.counter(1, INST, U32)
        bench.counter(2, CHAIN)
        bench.counter(3, CHAIN)
        bench.pmu.write_pmcr(E)
        bench.run(1)
        assert [bench.pmu.read_counter(index) for index in (2, 3)] == [0, 0]

    def test_not_into_counters_that_do_not_exist(self) -> None:
        bench = PmuBench(counters=1)
        bench.counter(0, INST, U32)
        bench.pmu.write_type(1, CHAIN)
        bench.pmu.write_pmcr(E)
        bench.run(1)
        assert bench.pmu.read_counter(1) == 0

    def test_counter_30_has_no_odd_half(self) -> None:
        bench = PmuBench(counters=31)
        bench.counter(30, INST, U32)
        bench.counter(CYCLES, CHAIN)
        bench.pmu.write_pmcr(E)
        bench.run(1)
        assert bench.pmu.read_counter(CYCLES) == 1, "the cycle it is"


class TestSoftwareIncrement:
    def test_it_needs_e_and_enabled_and_the_event(self, bench: PmuBench) -> None:
        bench.counter(0, SW)
        bench.counter(1, SW)
        bench.counter(2, INST)
        bench.counter(3, SW)
        bench.pmu.disable(1 << 3)
        bench.pmu.increment(U64)
        assert bench.pmu.read_counter(0) == 0
        bench.pmu.write_pmcr(E)
        for _ in range(100):
            bench.pmu.increment(0b1101)
        assert [bench.pmu.read_counter(index) for index in range(4)] == [100, 0, 0, 0]

    def test_it_wraps_at_32_bits(self) -> None:
        bench = PmuBench(version=4)
        bench.counter(0, SW, U32)
        bench.pmu.write_pmcr(E)
        bench.pmu.increment(1)
        assert (bench.pmu.read_counter(0), bench.pmu.read_overflowed()) == (0, 1)

    def test_it_flags_32_bits_and_keeps_64_on_v3p5(self, bench: PmuBench) -> None:
        bench.counter(0, SW, U32)
        bench.pmu.write_pmcr(E)
        bench.pmu.increment(1)
        assert (bench.pmu.read_counter(0), bench.pmu.read_overflowed()) == (1 << 32, 1)

    @pytest.mark.parametrize(("version", "odd"), [(4, 0), (6, 1 << 32)])
    def test_it_goes_on_into_a_chain(self, version: int, odd: int) -> None:
        bench = PmuBench(version=version)
        bench.chain(0, U32, U32, SW)
        bench.pmu.write_pmcr(E)
        bench.pmu.increment(1)
        assert (bench.pmu.read_counter(1), bench.pmu.read_overflowed()) == (odd, 0b11)

    def test_filters_do_not_hold_it(self, bench: PmuBench) -> None:
        bench.counter(0, SW, filters=TYPE_P | TYPE_U)
        bench.pmu.write_pmcr(E)
        bench.pmu.increment(1)
        assert bench.pmu.read_counter(0) == 1


class TestAvailability:
    def test_what_the_architecture_requires_is_there(self, bench: PmuBench) -> None:
        low, high = bench.pmu.read_pmceid(0), bench.pmu.read_pmceid(1)
        for event in (SW, PmuEvent.CPU_CYCLES, INST, CHAIN):
            assert low >> event & 1
        for event in (PmuEvent.STALL_FRONTEND, PmuEvent.STALL_BACKEND):
            assert high >> event - 32 & 1
        assert not high >> 0x3D - 32 & 7, "STALL_SLOT needs PMMIR_EL1.SLOTS"
        assert low >> 32 == high >> 32 == 0

    def test_it_follows_what_the_engine_can_count(self) -> None:
        low, _ = pmceid([CountedEvent.INSTRUCTIONS], EventRules())
        assert low == sum(1 << event for event in (SW, INST, PmuEvent.CPU_CYCLES, PmuEvent.INST_SPEC, CHAIN))

    def test_an_engine_that_counts_nothing(self, bench: PmuBench) -> None:
        bench.counted_events = frozenset()
        bench.counter(0, INST)
        bench.pmu.write_pmcr(E)
        assert not bench.mask
        assert bench.pmu.read_pmceid(0) == 1 << SW | 1 << CHAIN


class TestRules:
    @pytest.mark.parametrize(
        ("ranges", "allowed"),
        [
            ([], {0x08, 0x11, 0x13}),
            ([EventRange(0x08, 1, allow=True)], {0x08}),
            ([EventRange(0x08, 1, allow=False)], {0x11, 0x13}),
            ([EventRange(0x10, 4, allow=False), EventRange(0x11, 1, allow=True)], {0x08, 0x11}),
            ([EventRange(0, 0xFFFF, allow=True), EventRange(0x11, 0, allow=False)], {0x08, 0x11, 0x13}),
        ],
    )
    def test_the_first_decides_about_the_rest(self, ranges: list[EventRange], allowed: set[int]) -> None:
        rules = EventRules(ranges)
        assert {event for event in (0x08, 0x11, 0x13) if rules.allow(event)} == allowed

    def test_a_denied_event_neither_counts_nor_shows(self, bench: PmuBench) -> None:
        bench.pmu.set_rules(EventRules([EventRange(INST, 1, allow=False)]))
        bench.counter(0, INST)
        bench.counter(1, PmuEvent.LD_RETIRED)
        bench.pmu.enable(1 << CYCLES)
        bench.pmu.write_pmcr(E)
        bench.run(5)
        bench.happen(CountedEvent.LOADS, 2)
        assert [bench.pmu.read_counter(index) for index in (0, 1, CYCLES)] == [0, 2, 5]
        assert not bench.pmu.read_pmceid(0) >> INST & 1

    def test_the_cycle_counter_is_event_0x11(self, bench: PmuBench) -> None:
        bench.pmu.set_rules(EventRules([EventRange(PmuEvent.CPU_CYCLES, 1, allow=False)]))
        bench.pmu.enable(1 << CYCLES)
        bench.pmu.write_pmcr(E)
        bench.run(5)
        assert bench.pmu.read_counter(CYCLES) == 0

    def test_software_increments_and_chains_are_not_denied(self, bench: PmuBench) -> None:
        bench.pmu.set_rules(EventRules([EventRange(INST, 1, allow=True)]))
        bench.chain(0, U32, 0, SW)
        bench.pmu.write_pmcr(E)
        bench.pmu.increment(1)
        assert bench.pmu.read_counter(1) == 1
