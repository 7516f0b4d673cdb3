"""System registers that trap, constants and counters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from avmm.plugin import HALTED, Counter, ExternalAbort, SystemRegister, Undefined
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CNTVCT_EL0, CODE, DEADLINE, FUNCTION, REGISTER, Guest, HostTime

ESR_UNDEFINED = 0x0200_0000
FREQUENCY_HZ = 62_500_000


def refuse() -> int:
    raise Undefined


def refuse_write(value: int) -> None:
    raise Undefined


def fail() -> int:
    raise ZeroDivisionError


def register(
    read: Callable[[], int] | None = None,
    write: Callable[[int], None] | None = None,
    constant: int | None = None,
    *,
    el0: bool = False,
) -> SystemRegister:
    return SystemRegister("S3_3_C15_C2_0", REGISTER, read, write, constant, el0)


def counter(frequency_hz: int = FREQUENCY_HZ, offset: int = 0, allowed_at_el0: Callable[[], bool] | None = None) -> Counter:
    return Counter("CNTVCT_EL0", CNTVCT_EL0, frequency_hz, offset, allowed_at_el0)


def test_a_read_and_a_write_reach_their_handlers() -> None:
    written: list[int] = []
    with Guest(registers=[register(lambda: 2**64 - 3, written.append)]) as guest:
        guest.start(programs.READ_REGISTER)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x2", "x3") == (2**64 - 3, 2)
        guest.load(FUNCTION, programs.WRITE_REGISTER)
        guest.go(FUNCTION, x2=2**64 - 5)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert written == [2**64 - 5]


@pytest.mark.parametrize(
    ("definition", "program"),
    [
        (register(write=lambda value: None), programs.READ_REGISTER),
        (register(read=lambda: 0), programs.WRITE_REGISTER),
        (register(refuse), programs.READ_REGISTER),
        (register(write=refuse_write), programs.WRITE_REGISTER),
    ],
)
def test_undefined(definition: SystemRegister, program: tuple[int, ...]) -> None:
    with Guest(registers=[definition]) as guest:
        guest.start(program)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("esr_el1", "elr_el1", "x3") == (ESR_UNDEFINED, CODE + 4, 1)


def test_no_definition_is_undefined(guest: Guest) -> None:
    guest.start(programs.READ_REGISTER)
    assert guest.vcpu.enter(DEADLINE) is HALTED
    assert guest.registers("esr_el1", "elr_el1") == (ESR_UNDEFINED, CODE + 4)


def test_an_exception_comes_out_at_the_instruction() -> None:
    with Guest(registers=[register(fail)]) as guest:
        guest.start(programs.READ_REGISTER)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                guest.vcpu.enter(DEADLINE)
            assert guest.registers("pc", "x3") == (CODE + 4, 1)


def test_a_constant_reads_natively_and_ignores_writes() -> None:
    with Guest(registers=[register(constant=2**64 - 1)]) as guest:
        guest.start(programs.READ_REGISTER)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x2") == (2**64 - 1,)
        guest.load(FUNCTION, programs.WRITE_REGISTER)
        guest.go(FUNCTION)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x3", "x29") == (2, 0)


def test_a_constant_may_have_a_writer() -> None:
    written: list[int] = []
    with Guest(registers=[register(constant=5, write=written.append)]) as guest:
        guest.start(programs.READ_REGISTER)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x2") == (5,)
        guest.load(FUNCTION, programs.WRITE_REGISTER)
        guest.go(FUNCTION, x2=9)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert written == [9]


@pytest.mark.parametrize("el0", [False, True])
def test_el0_reaches_the_handler_only_where_it_may(el0: bool) -> None:
    with Guest(registers=[register(lambda: 77, el0=el0)]) as guest:
        guest.start(programs.EL0_READ_REGISTER, x1=CODE + 12)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x2", "elr_el1") == ((77, CODE + 20) if el0 else (0, CODE + 12))


@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
def test_what_el0_is_refused_traps_to_el1(allowed: bool, is_read: bool) -> None:
    asked: list[bool] = []
    written: list[int] = []

    def allow(read: bool) -> bool:
        asked.append(read)
        return allowed

    definition = SystemRegister("S3_3_C15_C2_0", REGISTER, lambda: 77, written.append, el0=True, allowed_at_el0=allow)
    with Guest(registers=[definition]) as guest:
        guest.start(programs.READ_REGISTER, x2=5)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert not asked, "EL1 needs no permission"
        access = programs.EL0_READ_REGISTER if is_read else programs.EL0_WRITE_REGISTER
        guest.load(FUNCTION, access)
        guest.go(FUNCTION, x1=FUNCTION + 12, x2=9)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert asked == [is_read]
        trapped = 0x18 << 26 | 1 << 25 | 3 << 20 | 3 << 14 | 15 << 10 | 2 << 5 | 2 << 1 | is_read
        supervisor_call = 0x15 << 26 | 1 << 25
        assert guest.registers("esr_el1", "elr_el1") == (
            (supervisor_call, FUNCTION + 20) if allowed else (trapped, FUNCTION + 12)
        )
        assert written == ([9] if allowed and not is_read else [])


def test_a_question_for_el0_that_fails_ends_the_entry() -> None:
    def fail_to_say(is_read: bool) -> bool:
        raise ZeroDivisionError

    definition = SystemRegister("S3_3_C15_C2_0", REGISTER, lambda: 77, el0=True, allowed_at_el0=fail_to_say)
    with Guest(registers=[definition]) as guest:
        guest.start(programs.EL0_READ_REGISTER, x1=CODE + 12)
        with pytest.raises(ZeroDivisionError):
            guest.vcpu.enter(DEADLINE)
        assert guest.registers("pc") == (CODE + 12,)


def test_identification_registers_are_each_vcpus_own() -> None:
    mpidr = SystemRegister("MPIDR_EL1", (3, 0, 0, 0, 5), constant=0x8000_0003)
    midr = SystemRegister("MIDR_EL1", (3, 0, 0, 0, 0), constant=0x410F_D034)
    with Guest(registers=[mpidr, midr]) as guest:
        guest.start(programs.ID)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x2", "x3") == (0x8000_0003, 0x410F_D034)


@pytest.mark.parametrize("encoding", [(4, 0, 0, 0, 0), (3, 8, 0, 0, 0), (3, 0, 16, 0, 0), (3, 0, 0, -1, 0), (3, 0, 0, 0, 8)])
def test_an_encoding_that_cannot_be(encoding: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no such system register"):
        Guest(registers=[SystemRegister("WRONG", encoding, constant=0)])


@pytest.mark.parametrize("error", [ExternalAbort, Undefined])
def test_a_register_has_one_way_to_refuse(error: type[Exception]) -> None:
    def raise_error() -> int:
        raise error

    with Guest(registers=[register(raise_error)]) as guest:
        guest.start(programs.READ_REGISTER)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("esr_el1") == (ESR_UNDEFINED,)


@pytest.mark.parametrize("now_ns", [0, 1, 999_999_999, 10**9, 12_345_678_901_234_567, 2**62])
@pytest.mark.parametrize("frequency_hz", [1, 24_000_000, FREQUENCY_HZ, 333_333_333, 10**9])
def test_a_counter_is_exact(now_ns: int, frequency_hz: int) -> None:
    with Guest(counters=[counter(frequency_hz, 5)], clock=HostTime(is_host=False, now_ns=now_ns)) as guest:
        guest.start(programs.COUNTER)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x2") == ((now_ns * frequency_hz // 10**9 - 5) % 2**64,)
        guest.vcpu.set_counter_offset("CNTVCT_EL0", -7)
        guest.go(CODE)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert guest.registers("x2") == ((now_ns * frequency_hz // 10**9 + 7) % 2**64,)


def test_the_hosts_clock_is_read_natively_and_never_goes_back() -> None:
    with Guest(counters=[counter()], clock=HostTime()) as guest:
        last = 0
        for _ in range(100):
            guest.start(programs.COUNTER)
            assert guest.vcpu.enter(DEADLINE) is HALTED
            first, second = guest.registers("x2", "x3")
            assert last <= first <= second
            last = second


@pytest.mark.parametrize("allowed", [True, False])
def test_the_counter_at_el0_is_for_el1_to_allow(allowed: bool) -> None:
    asked: list[None] = []

    def allow() -> bool:
        asked.append(None)
        return allowed

    with Guest(counters=[counter(allowed_at_el0=allow)], clock=HostTime(is_host=False, now_ns=16 * 5)) as guest:
        guest.start(programs.COUNTER)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert not asked
        guest.load(FUNCTION, programs.EL0_COUNTER)
        guest.go(FUNCTION, x1=FUNCTION + 12)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        assert len(asked) == 1
        if allowed:
            assert guest.registers("x2", "elr_el1") == (5, FUNCTION + 20)
        else:
            trapped = 0x18 << 26 | 1 << 25 | 3 << 20 | 2 << 17 | 3 << 14 | 14 << 10 | 2 << 5 | 1
            assert guest.registers("esr_el1", "elr_el1") == (trapped, FUNCTION + 12)


def test_a_counter_that_does_not_exist(guest: Guest) -> None:
    with pytest.raises(KeyError):
        guest.vcpu.set_counter_offset("CNTVCT_EL0", 0)


@pytest.mark.parametrize("frequency_hz", [0, 10**9 + 1])
def test_a_counter_needs_a_frequency(frequency_hz: int) -> None:
    with pytest.raises(ValueError, match="1 Hz to 1 GHz"):
        Guest(counters=[counter(frequency_hz)])
