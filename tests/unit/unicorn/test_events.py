"""Counted events: what happened, at which exception level, and the limit that is reached to the instruction."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.plugin import HALTED, KICKED, CountedEvent, EventLimit, SystemRegister, event_bit, event_index
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DATA, DEADLINE, DEVICE, FUNCTION, REGISTER, Guest

ALL = (1 << 2 * len(CountedEvent)) - 1
EL0, EL1, BOTH = 1, 2, 3

# x0 rounds: 11 instructions that touch memory, 6 loads and 5 stores; a conditional branch, a call and a return every other
# round, and the branch back.
MEMORY_LOOP = (
    0xF9400022,  # ldr x2, [x1]
    0xF9000422,  # str x2, [x1, #8]
    0xA9401023,  # ldp x3, x4, [x1]
    0xA9811023,  # stp x3, x4, [x1, #16]!
    0xF9800020,  # prfm pldl1keep, [x1]
    0xC85F7C25,  # ldxr x5, [x1]
    0xC8067C25,  # stxr w6, x5, [x1]
    0x58FFFF27,  # ldr x7, .-28
    0x4C407020,  # ld1 {v0.16b}, [x1]
    0x4C007020,  # st1 {v0.16b}, [x1]
    0xC8DFFC28,  # ldar x8, [x1]
    0xC89FFC28,  # stlr x8, [x1]
    0xD1004021,  # sub x1, x1, #0x10
    0x36000040,  # tbz w0, #0, .+8
    0x94000004,  # bl .+16
    0xF1000400,  # subs x0, x0, #0x1
    0x54FFFE01,  # b.ne .-64
    0xD503207F,  # wfi
    0xD65F03C0,  # ret
)

# Drop to EL0 at the address in x1, x0 rounds of three there, then SVC.
EL0_LOOP = (
    0xD5184021,  # msr elr_el1, x1
    0xD518401F,  # msr spsr_el1, xzr
    0xD69F03E0,  # eret
    0x91000442,  # add x2, x2, #0x1
    0xF1000400,  # subs x0, x0, #0x1
    0x54FFFFC1,  # b.ne .-8
    0xD4000001,  # svc #0x0
)


def never() -> None:
    raise AssertionError("no limit is reached here")


def count(guest: Guest, event: CountedEvent, levels: int = BOTH) -> int:
    counts = guest.vcpu.event_counts()
    return sum(counts[event_index(event, level)] for level in (0, 1) if levels >> level & 1)


def start_memory_loop(guest: Guest, rounds: int) -> None:
    guest.start(MEMORY_LOOP, x0=rounds, x1=DATA, cpacr_el1=3 << 20)


def test_nothing_is_counted_before_it_is_asked_for(guest: Guest) -> None:
    guest.start(programs.ADD_LOOP, x0=100)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert not any(guest.vcpu.event_counts())


def test_a_loop_of_known_length(guest: Guest) -> None:
    guest.vcpu.count_events(ALL)
    guest.start(programs.ADD_LOOP, x0=1000)
    assert guest.vcpu.enter() is HALTED
    assert count(guest, CountedEvent.INSTRUCTIONS, EL1) == 3001
    assert count(guest, CountedEvent.IMMEDIATE_BRANCHES, EL1) == count(guest, CountedEvent.BRANCHES, EL1) == 1000
    assert sum(guest.vcpu.event_counts()) == 5001, "and nothing else happened"


def test_loads_stores_and_branches(guest: Guest) -> None:
    guest.vcpu.count_events(ALL)
    start_memory_loop(guest, 10)
    assert guest.vcpu.enter() is HALTED
    expected = {
        CountedEvent.INSTRUCTIONS: 10 * 16 + 2 * 5 + 1,
        CountedEvent.MEMORY_ACCESSES: 110,
        CountedEvent.LOADS: 60,
        CountedEvent.STORES: 50,
        CountedEvent.BRANCHES: 30,
        CountedEvent.IMMEDIATE_BRANCHES: 25,
        CountedEvent.RETURNS: 5,
        CountedEvent.EXCEPTIONS: 0,
        CountedEvent.EXCEPTION_RETURNS: 0,
    }
    assert {event: count(guest, event, EL1) for event in CountedEvent} == expected
    assert sum(guest.vcpu.event_counts()) == sum(expected.values())


def test_exception_levels_are_told_apart(guest: Guest) -> None:
    guest.vcpu.count_events(ALL)
    guest.start(EL0_LOOP, x1=CODE + 12, x0=7)
    assert guest.vcpu.enter() is HALTED
    assert count(guest, CountedEvent.INSTRUCTIONS, EL0) == 7 * 3 + 1, "SVC is carried out at EL0"
    assert count(guest, CountedEvent.INSTRUCTIONS, EL1) == 3 + 2
    assert count(guest, CountedEvent.BRANCHES, EL0) == 7
    assert count(guest, CountedEvent.EXCEPTIONS, EL0) == 1
    assert count(guest, CountedEvent.EXCEPTION_RETURNS, EL1) == 1


def test_an_instruction_that_faults_is_not_carried_out(guest: Guest) -> None:
    guest.vcpu.count_events(ALL)
    guest.start(programs.POST_INDEX, x1=0x7000_0000)
    guest.trap.on_read = lambda address, width: guest_abort()
    assert guest.vcpu.enter() is HALTED
    assert count(guest, CountedEvent.INSTRUCTIONS) == 2 + 2, "two before it, and two of the vector"
    assert count(guest, CountedEvent.MEMORY_ACCESSES) == 0
    assert count(guest, CountedEvent.EXCEPTIONS) == 1


def guest_abort() -> int:
    from avmm.plugin import ExternalAbort

    raise ExternalAbort


def test_device_accesses_are_memory_accesses(guest: Guest) -> None:
    guest.vcpu.count_events(ALL)
    guest.start(programs.LOAD, x1=DEVICE)
    assert guest.vcpu.enter() is HALTED
    assert count(guest, CountedEvent.LOADS) == count(guest, CountedEvent.MEMORY_ACCESSES) == 6


def test_counting_begins_and_ends_with_a_trap() -> None:
    """The trapping instruction is the last of the old regime, and its handler sees it carried out."""
    seen: list[int] = []

    def write(value: int) -> None:
        guest.vcpu.count_events(value)
        seen.append(count(guest, CountedEvent.INSTRUCTIONS))

    def read() -> int:
        seen.append(count(guest, CountedEvent.INSTRUCTIONS))
        return 0

    with Guest(registers=[SystemRegister("S3_3_C15_C2_0", REGISTER, read, write)]) as guest:
        guest.start(
            (
                0xD51BF202,  # msr s3_3_c15_c2_0, x2
                0xD503201F,  # nop
                0xD503201F,  # nop
                0xD53BF203,  # mrs x3, s3_3_c15_c2_0
                0xD53BF203,  # mrs x3, s3_3_c15_c2_0
                0xD51BF21F,  # msr s3_3_c15_c2_0, xzr
                0xD503201F,  # nop
                0xD503207F,  # wfi
            ),
            x2=event_bit(CountedEvent.INSTRUCTIONS, 1),
        )
        for _ in range(2):
            guest.go(CODE)
            assert guest.vcpu.enter() is HALTED
    assert seen[:4] == [0, 3, 4, 5]
    assert [now - seen[4] for now in seen[4:]] == [0, 3, 4, 5]


@pytest.mark.parametrize(
    "event", [CountedEvent.INSTRUCTIONS, CountedEvent.MEMORY_ACCESSES, CountedEvent.STORES, CountedEvent.BRANCHES]
)
def test_a_limit_is_reached_to_the_instruction(event: CountedEvent) -> None:
    """At each limit: once, with the count exact, and all else as after as many single steps."""
    with Guest() as guest:
        guest.vcpu.count_events(ALL)
        start_memory_loop(guest, 3)
        after: list[tuple[tuple[int, ...], int]] = []
        before = 0
        while guest.vcpu.enter(1) is not HALTED:
            if count(guest, event) > before:
                before = count(guest, event)
                after.append((tuple(guest.vcpu.event_counts()), guest.vcpu.read_register("pc")))
    for limit, expected in enumerate(after, start=1):
        with Guest() as guest:
            seen: list[tuple[tuple[int, ...], int]] = []
            guest.vcpu.count_events(ALL)
            guest.vcpu.limit_events(
                [EventLimit(event, BOTH, limit)],
                lambda seen=seen, guest=guest: seen.append((tuple(guest.vcpu.event_counts()), guest.vcpu.read_register("pc"))),
            )
            start_memory_loop(guest, 3)
            assert guest.vcpu.enter() is HALTED
            assert seen == [expected]


def test_limits_go_on_from_one_to_the_next(guest: Guest) -> None:
    seen: list[int] = []

    def reached() -> None:
        seen.append(count(guest, CountedEvent.INSTRUCTIONS))
        guest.vcpu.limit_events([EventLimit(CountedEvent.INSTRUCTIONS, BOTH, 7)], reached)

    guest.vcpu.count_events(event_bit(CountedEvent.INSTRUCTIONS, 1))
    guest.vcpu.limit_events([EventLimit(CountedEvent.INSTRUCTIONS, BOTH, 7)], reached)
    guest.start(programs.ADD_LOOP, x0=100)
    assert guest.vcpu.enter() is HALTED
    assert seen == list(range(7, 301, 7))
    guest.vcpu.enter(1)
    assert seen[-1] == 301, "a limit reached by what leaves the guest is seen at the next entry"


@pytest.mark.parametrize(("levels", "limit", "at"), [(EL0, 5, 5), (EL0, 22, 22), (EL1, 4, 4), (BOTH, 24, 24)])
def test_limits_by_exception_level(guest: Guest, levels: int, limit: int, at: int) -> None:
    seen: list[int] = []
    guest.vcpu.count_events(ALL)
    guest.vcpu.limit_events(
        [EventLimit(CountedEvent.INSTRUCTIONS, levels, limit)],
        lambda: seen.append(count(guest, CountedEvent.INSTRUCTIONS, levels)),
    )
    guest.start(EL0_LOOP, x1=CODE + 12, x0=7)
    assert guest.vcpu.enter() is HALTED
    assert seen == [at]


def test_exceptions_have_limits_too(guest: Guest) -> None:
    seen: list[tuple[int, ...]] = []
    guest.vectors(programs.RETURN_VECTOR)
    guest.vcpu.count_events(ALL)
    guest.vcpu.limit_events(
        [EventLimit(CountedEvent.EXCEPTIONS, BOTH, 2)],
        lambda: seen.append((count(guest, CountedEvent.EXCEPTIONS), guest.vcpu.read_register("x29"))),
    )
    guest.start((0xD4000001, 0xD4000001, 0xD4000001, 0xD503207F))
    assert guest.vcpu.enter() is HALTED
    assert seen == [(2, 1)], "before the first instruction of the second exception's vector"


def test_a_limit_raises_an_interrupt_before_the_next_instruction(guest: Guest) -> None:
    guest.vcpu.count_events(ALL)
    guest.vcpu.limit_events([EventLimit(CountedEvent.INSTRUCTIONS, BOTH, 1001)], lambda: guest.vcpu.set_irq_line(level=True))
    guest.start(programs.UNMASK)
    guest.vcpu.enter(2000)
    assert guest.registers("x0", "x29", "elr_el1") == (500, 1, CODE + 4)


def test_budgets_hold_beside_limits(guest: Guest) -> None:
    seen: list[int] = []
    guest.vcpu.count_events(ALL)
    guest.vcpu.count_instructions(on=True)
    guest.vcpu.limit_events([EventLimit(CountedEvent.LOADS, BOTH, 33)], lambda: seen.append(count(guest, CountedEvent.LOADS)))
    start_memory_loop(guest, 10)
    entries = 1
    while guest.vcpu.enter(10) is not HALTED:
        assert guest.vcpu.instructions == 10 * entries
        entries += 1
    assert seen == [33]
    assert guest.vcpu.instructions == count(guest, CountedEvent.INSTRUCTIONS) == 171


def test_an_error_from_a_limit_comes_out_of_enter(guest: Guest) -> None:
    guest.vcpu.count_events(ALL)
    guest.vcpu.limit_events([EventLimit(CountedEvent.INSTRUCTIONS, BOTH, 10)], never)
    guest.start(programs.ADD_LOOP, x0=100)
    with pytest.raises(AssertionError, match="no limit is reached here"):
        guest.vcpu.enter()
    assert count(guest, CountedEvent.INSTRUCTIONS) == 10
    assert guest.vcpu.enter() is HALTED
    assert count(guest, CountedEvent.INSTRUCTIONS) == 301


def test_a_kick_and_a_limit_do_not_lose_each_other(guest: Guest) -> None:
    seen: list[int] = []

    def reached() -> None:
        seen.append(count(guest, CountedEvent.INSTRUCTIONS))
        guest.vcpu.kick()

    guest.vcpu.count_events(ALL)
    guest.vcpu.limit_events([EventLimit(CountedEvent.INSTRUCTIONS, BOTH, 10)], reached)
    guest.start(programs.ADD_LOOP, x0=100)
    assert guest.vcpu.enter() is KICKED
    assert guest.vcpu.enter() is HALTED
    assert seen == [10]
    assert count(guest, CountedEvent.INSTRUCTIONS) == 301


def test_counting_fades_out_when_nobody_wants_it(guest: Guest) -> None:
    """A superset may be counted for a while; later, what is not wanted stands still."""
    guest.vcpu.count_events(ALL)
    guest.start(programs.ADD_LOOP, x0=10)
    assert guest.vcpu.enter() is HALTED
    guest.vcpu.count_events(0)
    guest.go(CODE, x0=20_000_000)
    assert guest.vcpu.enter() is HALTED
    faded = guest.vcpu.event_counts()
    guest.go(CODE, x0=1000)
    assert guest.vcpu.enter() is HALTED
    assert guest.vcpu.event_counts() == faded
    guest.vcpu.count_events(ALL)
    guest.go(CODE, x0=1000)
    assert guest.vcpu.enter() is HALTED
    assert count(guest, CountedEvent.INSTRUCTIONS) - faded[event_index(CountedEvent.INSTRUCTIONS, 1)] == 3001


def test_exceptions_without_vectors_are_counted_and_are_no_instructions(guest: Guest) -> None:
    guest.vcpu.count_events(ALL)
    guest.start(programs.UNDEFINED, vbar_el1=0x7000_0000)
    guest.vcpu.enter(1000)
    assert count(guest, CountedEvent.INSTRUCTIONS) == 1
    assert count(guest, CountedEvent.EXCEPTIONS) > 100


def test_masks_and_limits_that_make_no_sense_are_refused(guest: Guest) -> None:
    with pytest.raises(ValueError, match="mask"):
        guest.vcpu.count_events(1 << 18)
    for limit in (EventLimit(9, 1, 1), EventLimit(0, 4, 1), EventLimit(0, 1, 0), EventLimit(-1, 1, 1)):
        with pytest.raises(ValueError, match="no such event"):
            guest.vcpu.limit_events([limit], never)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(list(CountedEvent)), st.sampled_from([EL0, EL1, BOTH]), st.integers(1, 60)),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(1, 50), max_size=8),
)
def test_whatever_is_limited_the_guest_and_the_counts_are_the_same(
    limits: list[tuple[CountedEvent, int, int]], budgets: list[int]
) -> None:
    """Limits and budgets only cut the run into pieces; every limit is seen at its exact count."""
    results = []
    for wanted in ([], limits):
        with Guest() as guest:

            def reached(guest: Guest = guest, wanted: list[tuple[CountedEvent, int, int]] = wanted) -> None:
                hits = [limit for limit in wanted if count(guest, limit[0], limit[1]) == limit[2]]
                assert hits, "a limit is reached when its count is full, not later"
                left = [
                    EventLimit(event, levels, number - count(guest, event, levels))
                    for event, levels, number in wanted
                    if number > count(guest, event, levels)
                ]
                guest.vcpu.limit_events(left, reached)

            guest.vcpu.count_events(ALL)
            guest.vcpu.limit_events([EventLimit(*limit) for limit in wanted], reached)
            guest.vectors(programs.SKIP_VECTOR)
            guest.load(FUNCTION, EL0_LOOP)
            start_memory_loop(guest, 4)
            for budget in [*(budgets if wanted else []), DEADLINE]:
                if guest.vcpu.enter(budget) is HALTED:
                    break
            guest.go(FUNCTION, x0=5, x1=FUNCTION + 12, pstate=0x3C5)
            guest.vcpu.enter(200)
            results.append((guest.vcpu.event_counts(), guest.registers("x0", "x1", "x2", "x29", "pc")))
    assert results[0] == results[1]


def test_registers_of_the_guest_do_not_depend_on_counting() -> None:
    outcomes = []
    for mask in (0, ALL):
        with Guest() as guest:
            guest.vcpu.count_events(mask)
            start_memory_loop(guest, 50)
            assert guest.vcpu.enter() is HALTED
            outcomes.append(guest.registers(*(f"x{number}" for number in range(31))))
    assert outcomes[0] == outcomes[1]
