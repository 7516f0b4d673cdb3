"""Translations that one vCPU takes over from another, and those that outlive IC IALLU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from avmm.plugin import HALTED, Counter, ExternalAbort, SystemRegister, VcpuEngine
from avmm_unicorn.engine import UnicornEngine
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CNTVCT_EL0, CODE, DEADLINE, DEVICE, FUNCTION, REGISTER, VECTORS, Guest, HostTime, Traps
from tests.unit.unicorn.test_code import native

ROUNDS = 100
OTHER_FUNCTION = FUNCTION + 0x2000
# mov x1, x30; isb; ic iallu; dsb ish; isb; br x1
INVALIDATE_EVERYTHING = (0xAA1E03E1, 0xD5033FDF, *programs.REWRITE_ALL[2:])
# bl to the function at 0x2000 from here, again, and wait
CALL_AND_LOOP = (
    0x94000800,  # bl .+0x2000
    0xF1000421,  # subs x1, x1, #1
    0x54FFFFC1,  # b.ne .-8
    0xD503207F,  # wfi
)

# Constants of the host's vector registers are behind a block's code; these are no instructions of the host.
VECTOR_CONSTANTS = (
    0xD2A00601,  # mov x1, #0x300000
    0xD5181041,  # msr cpacr_el1, x1
    0xD5033FDF,  # isb
    0x4F00E4C0,  # movi v0.16b, #6
    0x4F00E4E1,  # movi v1.16b, #7
    0x4E218400,  # add v0.16b, v0.16b, v1.16b
    0x4E083C00,  # mov x0, v0.d[0]
    0xD503207F,  # wfi
)
# adr x0, .
SET_ADDRESS = (0x10000000, *programs.SET_ONE[1:])


@pytest.fixture(params=[False, True], ids=["in turns", "in parallel"])
def pair(request: pytest.FixtureRequest) -> Iterator[Guest]:
    with Guest(vcpus=2, parallel=request.param) as guest:
        yield guest


def made(guest: Guest, vcpu: int = 1) -> tuple[int, int]:
    """Blocks that this vCPU translated, and that it took over."""
    one = native(guest.vcpus[vcpu])
    return one.translated, one.taken_from_vcpus


def run(guest: Guest, address: int = CODE, *, vcpu: int, **registers: int) -> None:
    guest.go(address, vcpu=vcpu, **registers)
    assert guest.vcpus[vcpu].enter() is HALTED


def same_again(guest: Guest, program: tuple[int, ...], *results: str, **registers: int) -> None:
    """Both vCPUs carry out `program`; the second translates nothing and comes to the same."""
    guest.load(CODE, program)
    for vcpu in range(2):
        run(guest, vcpu=vcpu, **registers)
    assert made(guest) == (0, made(guest, 0)[0])
    assert guest.registers(*results, vcpu=1) == guest.registers(*results)


def test_what_another_vcpu_has_translated_is_taken_over(pair: Guest) -> None:
    # Its jumps lead to each other by now; those of the copy must lead to its own.
    pair.load(CODE + 0x2000, programs.SET_ONE)
    same_again(pair, CALL_AND_LOOP, "x0", "x1", "pc", x1=ROUNDS)
    run(pair, vcpu=1, x1=ROUNDS)
    assert made(pair)[0] == 0


def test_vector_constants_are_taken_over(pair: Guest) -> None:
    same_again(pair, VECTOR_CONSTANTS, "x0")
    assert pair.registers("x0", vcpu=1) == (0x0D0D_0D0D_0D0D_0D0D,)


def test_the_copy_goes_on_when_the_original_is_gone(pair: Guest) -> None:
    pair.load(CODE + 0x2000, programs.SET_ONE)
    same_again(pair, CALL_AND_LOOP, "x0", x1=ROUNDS)
    pair.vcpu.reset()
    run(pair, vcpu=0, x1=ROUNDS)
    run(pair, vcpu=1, x1=ROUNDS)
    assert (pair.registers("x0"), pair.registers("x0", vcpu=1)) == ((1,), (1,))
    assert made(pair, 0)[1] > 0, "and the first takes back what the second took"


def test_what_is_in_place_of_dropped_code_is_not_taken_for_it(pair: Guest) -> None:
    for program in (programs.SET_ONE, programs.SET_TWO):
        pair.vcpu.reset()
        pair.load(FUNCTION, program)
        run_function(pair, FUNCTION, vcpu=0)
    pair.load(FUNCTION, programs.SET_ONE)
    assert run_function(pair, FUNCTION, vcpu=1) == 1


def run_function(guest: Guest, address: int, *, vcpu: int) -> int:
    """What the function at `address` returns; it is the first to be translated, if it is."""
    guest.load(CODE, programs.WFI)
    run(guest, address, vcpu=vcpu, x30=CODE)
    return guest.registers("x0", vcpu=vcpu)[0]


def test_code_that_is_not_what_it_was_is_translated(pair: Guest) -> None:
    pair.load(FUNCTION, programs.SET_ONE)
    pair.load(CODE, programs.CALL)
    run(pair, vcpu=0, x1=FUNCTION)
    pair.load(FUNCTION, programs.SET_TWO)
    run(pair, vcpu=1, x1=FUNCTION)
    assert pair.registers("x0", vcpu=1) == (2,)
    assert made(pair)[0] == 1


def test_the_same_code_somewhere_else_is_translated(pair: Guest) -> None:
    for address, vcpu in ((FUNCTION, 0), (FUNCTION + 0x2_0004, 1)):  # in one chain of translations
        pair.load(address, SET_ADDRESS)
        assert run_function(pair, address, vcpu=vcpu) == address


@pytest.mark.parametrize("parallel", [False, True])
def test_each_vcpu_reaches_its_own_system_registers(*, parallel: bool) -> None:
    with Guest(parallel=parallel, registers=[register(read=lambda: 11)]) as guest:
        add_vcpu(guest, [register(read=lambda: 22)])
        guest.load(CODE, programs.READ_REGISTER)
        for vcpu, expected in ((0, 11), (1, 22), (0, 11)):
            run(guest, vcpu=vcpu)
            assert guest.registers("x2", vcpu=vcpu) == (expected,)
        assert made(guest) == (0, 1)


def test_what_two_vcpus_have_different_constants_for_is_translated() -> None:
    with Guest(registers=[register(constant=11)]) as guest:
        add_vcpu(guest, [register(constant=22)])
        guest.load(CODE, programs.READ_REGISTER)
        for vcpu, expected in ((0, 11), (1, 22)):
            run(guest, vcpu=vcpu)
            assert guest.registers("x2", vcpu=vcpu) == (expected,)
        assert made(guest) == (1, 0)


def test_each_vcpu_reads_its_own_counter() -> None:
    counter = Counter("CNTVCT_EL0", CNTVCT_EL0, 1_000_000_000, 0, None)
    with Guest(vcpus=2, counters=[counter], clock=HostTime(is_host=False, now_ns=1000)) as guest:
        guest.vcpus[1].set_counter_offset("CNTVCT_EL0", 400)
        guest.load(CODE, programs.COUNTER)
        for vcpu, expected in ((0, 1000), (1, 600)):
            run(guest, vcpu=vcpu)
            assert guest.registers("x2", vcpu=vcpu) == (expected,)
        assert made(guest) == (0, 1)


def register(read: Callable[[], int] | None = None, constant: int | None = None) -> SystemRegister:
    return SystemRegister("S3_3_C15_C2_0", REGISTER, read, None, constant)


def add_vcpu(guest: Guest, registers: list[SystemRegister]) -> VcpuEngine:
    assert isinstance(guest.engine, UnicornEngine)
    traps = Traps()
    vcpu = guest.engine.create_vcpu(1, traps, registers, ())
    vcpu.write_register("vbar_el1", VECTORS)
    guest.traps.append(traps)
    guest.vcpus.append(vcpu)
    return vcpu


def test_an_exception_within_a_block_taken_over_is_at_its_instruction(pair: Guest) -> None:
    places: list[list[int]] = [[], []]

    def refuse(vcpu: int) -> Callable[[int, int], int]:
        def read(address: int, width: int) -> int:
            places[vcpu].extend(pair.registers("pc", vcpu=vcpu))
            if width == 8:
                raise ExternalAbort
            return 0

        return read

    for vcpu in range(2):
        pair.traps[vcpu].on_read = refuse(vcpu)
    same_again(pair, programs.LOAD, "elr_el1", "esr_el1", "far_el1", x1=DEVICE)
    assert places == [[CODE, CODE + 4, CODE + 8, CODE + 12]] * 2
    assert pair.registers("elr_el1", vcpu=1) == (CODE + 12,)


def test_who_counts_instructions_translates_for_himself(pair: Guest) -> None:
    pair.load(CODE + 0x2000, programs.SET_ONE)
    pair.load(CODE, CALL_AND_LOOP)
    run(pair, vcpu=0, x1=ROUNDS)
    pair.go(CODE, vcpu=1, x1=ROUNDS)
    pair.vcpus[1].count_instructions(on=True)
    assert pair.vcpus[1].enter(DEADLINE) is HALTED
    assert (pair.vcpus[1].instructions, made(pair)[1]) == (5 * ROUNDS + 1, 0)
    # Nor are his of any use to others.
    pair.vcpu.reset()
    run(pair, vcpu=0, x1=ROUNDS)
    assert made(pair, 0)[1] == 0


def test_code_that_outgrew_its_buffer_is_not_taken_over() -> None:
    with Guest(vcpus=2, options={"translation_buffer_mb": 1}) as guest:
        program = [word for _ in range(0x3000 // 8) for word in (0x91000400, 0x14000001)]  # add x0, x0, #1; b .+4
        guest.load(CODE + 0x2_0000, [*program, *programs.WFI])
        for vcpu in (0, 1, 0, 1):
            run(guest, CODE + 0x2_0000, vcpu=vcpu, x0=0)
            assert guest.registers("x0", vcpu=vcpu) == (len(program) // 2,)


def test_invalidating_all_code_drops_what_has_changed_and_keeps_the_rest(pair: Guest) -> None:
    functions = (FUNCTION, OTHER_FUNCTION)
    pair.load(CODE, INVALIDATE_EVERYTHING)
    for address in functions:
        pair.load(address, programs.SET_ONE)
    pair.load(CODE + 0x1000, programs.CALL)
    for vcpu in range(2):
        for address in functions:
            run(pair, CODE + 0x1000, vcpu=vcpu, x1=address)
        run(pair, vcpu=vcpu, x30=CODE + 0x1004)
    pair.load(FUNCTION, programs.SET_TWO)  # behind the translations' back
    before = [made(pair, vcpu) for vcpu in range(2)]
    run(pair, vcpu=0, x30=CODE + 0x1004)
    for vcpu in range(2):
        for address, expected in zip(functions, (2, 1), strict=True):
            run(pair, CODE + 0x1000, vcpu=vcpu, x1=address)
            assert pair.registers("x0", vcpu=vcpu) == (expected,)
    after = [made(pair, vcpu) for vcpu in range(2)]
    assert [sum(two) - sum(one) for one, two in zip(before, after, strict=True)] == [1, 1]
