"""The generic timer (Arm ARM D12): registers, lines, and the host timer behind them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.clock import VirtualClock
from avmm.plugin import DeviceLock, ExitReason, TimerHandle
from avmm_arm64.timer import SystemCounter, Timer, TimerPpis, VcpuTimers
from tests.unit.arm64.fakes import FakeMachine

HZ = 62_500_000
NS_PER_TICK = 16
ENABLE, IMASK, ISTATUS = 1, 2, 4
U64 = (1 << 64) - 1
START_NS = 1_000_000_007


class CountingClock(VirtualClock):
    """Virtual time that counts how often a host timer is armed, and can be late."""

    def __init__(self) -> None:
        super().__init__(start_ns=START_NS)
        self.armed: list[int] = []
        self._handles: list[TimerHandle] = []

    def cancel_all(self) -> None:
        for handle in self._handles:
            handle.cancel()

    def call_at(self, when_ns: int, callback: object) -> TimerHandle:
        self.armed.append(when_ns)
        assert callable(callback)
        self._handles.append(super().call_at(when_ns, callback))
        return self._handles[-1]


class Bench:
    """The timers of one vCPU, with what they do to their interrupt lines."""

    def __init__(self, ppis: TimerPpis | None = None) -> None:
        self.clock = CountingClock()
        offset = SystemCounter(self.clock, HZ).raw()
        self.counter = SystemCounter(self.clock, HZ, offset)
        self.lines: list[tuple[int, bool]] = []
        self.timers = VcpuTimers(
            self.counter, SystemCounter(self.clock, HZ, offset), ppis or TimerPpis(), DeviceLock(), self._set_line
        )
        self.timers.reset()

    def _set_line(self, intid: int, level: bool) -> None:
        self.lines.append((intid, level))

    def arm(self, timer: Timer, ticks: int, control: int = ENABLE) -> None:
        """Set `timer` to `ticks` from now."""
        timer.write_cval(self.counter.count() + ticks & U64)
        timer.write_ctl(control)
        self.timers.update()


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestCounter:
    def test_starts_at_zero_and_ticks_at_its_frequency(self, bench: Bench) -> None:
        assert bench.counter.count() == 0
        bench.clock.advance(1_000_000_000)
        assert bench.counter.count() == HZ

    def test_an_offset_rewinds_modulo_2_to_the_64(self, bench: Bench) -> None:
        bench.counter.offset += 10
        assert bench.counter.count() == U64 - 9

    @pytest.mark.parametrize("ticks", [1, 2, 3, 625, 62_500_001])
    def test_when_ns_is_the_first_nanosecond(self, bench: Bench, ticks: int) -> None:
        counter = SystemCounter(bench.clock, 19_200_000)  # not a whole number of nanoseconds a tick
        counter.offset = counter.raw()
        due_ns = counter.when_ns(ticks)
        bench.clock.advance(due_ns - 1 - bench.clock.now_ns())
        assert counter.count() == ticks - 1
        bench.clock.advance(1)
        assert counter.count() == ticks


class TestControl:
    @pytest.mark.parametrize("timer_name", ["virtual", "physical"])
    def test_reset(self, bench: Bench, timer_name: str) -> None:
        timer: Timer = getattr(bench.timers, timer_name)
        assert timer.read_ctl() & (ENABLE | IMASK) == 0

    def test_istatus_is_read_only_and_the_rest_res0(self, bench: Bench) -> None:
        timer = bench.timers.virtual
        timer.write_cval(1000)
        timer.write_ctl(U64)
        assert timer.read_ctl() == ENABLE | IMASK

    @pytest.mark.parametrize("control", [0, ENABLE, IMASK, ENABLE | IMASK])
    def test_istatus_shows_the_condition_whatever_the_control(self, bench: Bench, control: int) -> None:
        timer = bench.timers.virtual
        bench.arm(timer, 100, control)
        bench.clock.advance(99 * NS_PER_TICK)
        assert timer.read_ctl() == control
        bench.clock.advance(2 * NS_PER_TICK)
        assert timer.read_ctl() == control | ISTATUS

    def test_the_condition_is_unsigned(self, bench: Bench) -> None:
        timer = bench.timers.virtual
        timer.write_cval(U64)
        assert not timer.read_ctl() & ISTATUS
        timer.write_cval(0)
        assert timer.read_ctl() & ISTATUS


class TestTval:
    def test_read_is_the_distance(self, bench: Bench) -> None:
        timer = bench.timers.virtual
        timer.write_tval(1000)
        assert timer.read_tval() == 1000
        bench.clock.advance(1000 * NS_PER_TICK)
        assert timer.read_tval() == 0
        bench.clock.advance(5 * NS_PER_TICK)
        assert timer.read_tval() == 0xFFFF_FFFB, "-5 in 32 bits, zero-extended"

    def test_write_sign_extends_and_drops_the_upper_half(self, bench: Bench) -> None:
        bench.clock.advance(1000 * NS_PER_TICK)
        timer = bench.timers.virtual
        timer.write_tval(0xDEAD_BEEF_FFFF_FFFF)
        assert timer.read_cval() == bench.counter.count() - 1
        timer.write_tval(0x8000_0000)
        assert timer.read_cval() == bench.counter.count() - (1 << 31) & U64

    def test_read_drops_the_upper_half(self, bench: Bench) -> None:
        timer = bench.timers.virtual
        timer.write_cval(0x1234_5678_0000_0010)
        assert timer.read_tval() == 0x10


class TestLines:
    @pytest.mark.parametrize(("name", "intid"), [("virtual", 27), ("physical", 30)])
    def test_goes_high_when_due_and_never_before(self, bench: Bench, name: str, intid: int) -> None:
        bench.arm(getattr(bench.timers, name), 1000)
        bench.clock.advance(999 * NS_PER_TICK)
        assert bench.lines == []
        bench.clock.advance(2 * NS_PER_TICK)
        assert bench.lines == [(intid, True)]

    def test_the_numbers_are_the_vms(self) -> None:
        bench = Bench(TimerPpis(virtual=20, physical=21))
        bench.arm(bench.timers.virtual, 0)
        bench.arm(bench.timers.physical, 0)
        assert bench.lines == [(20, True), (21, True)]

    @pytest.mark.parametrize("control", [0, IMASK, ENABLE | IMASK])
    def test_stays_low_disabled_or_masked(self, bench: Bench, control: int) -> None:
        bench.arm(bench.timers.virtual, 10, control)
        bench.clock.advance(1000)
        assert bench.lines == []
        assert bench.clock.armed == []

    @pytest.mark.parametrize("how", ["disable", "mask", "move"])
    def test_is_level_and_falls_when_the_guest_says_so(self, bench: Bench, how: str) -> None:
        timer = bench.timers.virtual
        bench.arm(timer, 0)
        timer.read_ctl()
        bench.clock.advance(1000)
        bench.timers.update()
        assert bench.lines == [(27, True)]
        match how:
            case "disable":
                timer.write_ctl(0)
            case "mask":
                timer.write_ctl(ENABLE | IMASK)
            case _:
                timer.write_cval(bench.counter.count() + 1000)
        bench.timers.update()
        assert bench.lines == [(27, True), (27, False)]

    def test_reset_lowers_the_line_and_keeps_the_counter_and_what_it_is_compared_with(self, bench: Bench) -> None:
        bench.arm(bench.timers.virtual, 7)
        bench.clock.advance(1600)
        bench.timers.update()
        bench.timers.reset()
        assert bench.lines == [(27, True), (27, False)]
        assert (bench.counter.count(), bench.timers.virtual.read_cval()) == (100, 7)


class TestHostTimer:
    def test_the_earliest_wins(self, bench: Bench) -> None:
        bench.arm(bench.timers.virtual, 2000)
        bench.arm(bench.timers.physical, 1000)
        bench.clock.advance(1001 * NS_PER_TICK)
        assert bench.lines == [(30, True)]
        bench.clock.advance(1000 * NS_PER_TICK)
        assert bench.lines == [(30, True), (27, True)]

    def test_moving_a_timer_back_arms_nothing_new(self, bench: Bench) -> None:
        for ticks in (1000, 2000, 3000):
            bench.arm(bench.timers.virtual, ticks)
        assert len(bench.clock.armed) == 1
        bench.clock.advance(2999 * NS_PER_TICK)
        assert bench.lines == []
        bench.clock.advance(2 * NS_PER_TICK)
        assert bench.lines == [(27, True)]
        assert len(bench.clock.armed) == 2

    def test_moving_a_timer_forward_arms_it_again(self, bench: Bench) -> None:
        bench.arm(bench.timers.virtual, 1000)
        bench.arm(bench.timers.virtual, 100)
        bench.clock.advance(101 * NS_PER_TICK)
        assert bench.lines == [(27, True)]

    def test_a_disabled_timer_fires_into_nothing(self, bench: Bench) -> None:
        bench.arm(bench.timers.virtual, 100)
        bench.timers.virtual.write_ctl(0)
        bench.timers.update()
        bench.clock.advance(1000 * NS_PER_TICK)
        assert bench.lines == []

    def test_time_that_never_comes_is_not_armed(self, bench: Bench) -> None:
        bench.arm(bench.timers.virtual, U64 - 1)
        assert bench.clock.armed == []

    def test_a_stopped_vcpu_is_not_woken(self, bench: Bench) -> None:
        bench.arm(bench.timers.virtual, 100)
        bench.timers.stop()
        bench.timers.update()
        bench.clock.advance(1000 * NS_PER_TICK)
        assert bench.lines == []
        bench.timers.reset()
        bench.arm(bench.timers.virtual, 100)
        bench.clock.advance(1000 * NS_PER_TICK)
        assert bench.lines == [(27, True)]

    def test_lateness_is_counted_for_timers_set_to_the_future(self, bench: Bench) -> None:
        bench.arm(bench.timers.virtual, 0)
        assert sum(bench.timers.lateness.buckets) == 0, "it was due when it was set"
        bench.arm(bench.timers.physical, 100)
        due_ns = bench.timers.physical.due_ns
        assert due_ns is not None
        bench.clock.advance(due_ns - bench.clock.now_ns())
        assert bench.timers.lateness.buckets[0] == 1, "virtual time is never late"
        assert bench.timers.lateness.sum_ns == 0

    @pytest.mark.parametrize("late_ns", [0, 1, 999, 10_000_000])
    def test_lateness_is_what_passed_since_it_was_due(self, bench: Bench, late_ns: int) -> None:
        bench.arm(bench.timers.virtual, 100)
        due_ns = bench.timers.virtual.due_ns
        assert due_ns is not None
        bench.clock.cancel_all()  # a host that forgets: the next entry finds it
        bench.clock.advance(due_ns - 1 - bench.clock.now_ns())
        bench.timers.update_due()
        assert bench.lines == []
        bench.clock.advance(1 + late_ns)
        bench.timers.update_due()
        assert bench.lines == [(27, True)]
        assert (sum(bench.timers.lateness.buckets), bench.timers.lateness.sum_ns) == (1, late_ns)


@given(
    st.integers(0, 1 << 62),
    st.sampled_from([1, 3, 24_000_000, HZ, 333_333_333, 1_000_000_000]),
    st.integers(0, U64),
    st.integers(0, U64),
)
def test_the_line_is_high_from_the_first_nanosecond_of_its_time_and_not_before(
    start_ns: int, hz: int, offset: int, value: int
) -> None:
    counter = SystemCounter(VirtualClock(start_ns=start_ns), hz, offset)
    due_ns = counter.when_ns(value)
    if counter.count() >= value:
        assert due_ns == 0
        return
    assert due_ns > start_ns
    at = [(due_ns - 1) * hz // 10**9 - offset, due_ns * hz // 10**9 - offset]
    ticks = value - counter.count()
    start = start_ns * hz // 10**9 - offset
    assert at[0] < start + ticks <= at[1]


class TestRegistersOfAVcpu:
    """The system registers, as the guest reaches them."""

    def test_writing_cval_in_the_past_raises_the_line_at_once(self, machine: FakeMachine) -> None:
        machine.vm.clock.advance(1000)
        machine.msr(0, "CNTV_CVAL_EL0", 0)
        machine.msr(0, "CNTV_CTL_EL0", ENABLE)
        assert machine.mrs(0, "CNTV_CTL_EL0") == ENABLE | ISTATUS
        assert machine.arch.gic.redistributors[0].bank.pending() == 1 << 27

    def test_each_vcpu_has_its_own(self, machine: FakeMachine) -> None:
        machine.msr(1, "CNTP_TVAL_EL0", 100)
        machine.msr(1, "CNTP_CTL_EL0", ENABLE)
        machine.vm.clock.advance(101 * NS_PER_TICK)
        banks = [redistributor.bank.pending() for redistributor in machine.arch.gic.redistributors]
        assert banks == [0, 1 << 30]

    def test_the_frequency(self, machine: FakeMachine) -> None:
        assert machine.mrs(0, "CNTFRQ_EL0") == HZ
        assert {counter.frequency_hz for counter in machine.parts[0].counters} == {HZ}

    def test_the_engines_counters_start_near_zero(self, machine: FakeMachine) -> None:
        now_ns = machine.vm.clock.now_ns()
        for counter in machine.parts[0].counters:
            assert now_ns * HZ // 10**9 - counter.offset == 0

    @pytest.mark.parametrize(
        ("name", "bit"),
        [
            *((f"CNTV_{register}_EL0", 1 << 8) for register in ("CTL", "CVAL", "TVAL")),
            *((f"CNTP_{register}_EL0", 1 << 9) for register in ("CTL", "CVAL", "TVAL")),
            ("CNTFRQ_EL0", 1 << 0),
            ("CNTFRQ_EL0", 1 << 1),
        ],
    )
    def test_cntkctl_gates_el0(self, machine: FakeMachine, name: str, bit: int) -> None:
        register = machine.register(0, name)
        allowed = register.allowed_at_el0
        assert register.el0
        assert allowed is not None
        for is_read in (True, False):
            machine.msr(0, "CNTKCTL_EL1", 0)
            assert not allowed(is_read)
            machine.msr(0, "CNTKCTL_EL1", bit)
            assert allowed(is_read)
            machine.msr(0, "CNTKCTL_EL1", 0x3FF & ~bit & ~0b11)
            assert not allowed(is_read)

    def test_an_access_that_el0_is_refused_is_counted(self, machine: FakeMachine) -> None:
        allowed = machine.register(0, "CNTV_CTL_EL0").allowed_at_el0
        assert allowed is not None
        is_read = True
        assert not allowed(is_read)
        assert machine.parts[0].exits_by_reason[ExitReason.SYSTEM_REGISTER] == 1

    @pytest.mark.parametrize(("name", "bit"), [("CNTPCT_EL0", 1 << 0), ("CNTVCT_EL0", 1 << 1)])
    def test_cntkctl_gates_the_counters(self, machine: FakeMachine, name: str, bit: int) -> None:
        counter = next(counter for counter in machine.parts[0].counters if counter.name == name)
        assert counter.allowed_at_el0 is not None
        assert not counter.allowed_at_el0()
        machine.msr(0, "CNTKCTL_EL1", bit)
        assert counter.allowed_at_el0()

    def test_cntkctl_is_reset_and_keeps_its_bits(self, machine: FakeMachine) -> None:
        machine.msr(0, "CNTKCTL_EL1", U64)
        assert machine.mrs(0, "CNTKCTL_EL1") == 0x3FF
        machine.parts[0].reset()
        assert machine.mrs(0, "CNTKCTL_EL1") == 0


class TestAsleepOnItsOwnThread:
    """The vCPU's thread sleeps until its timers are due; nobody else is woken for them."""

    def test_the_host_timer_rests(self, bench: Bench) -> None:
        bench.arm(bench.timers.virtual, 1000)
        due_ns = bench.timers.sleep()
        assert due_ns == bench.counter.when_ns(bench.counter.count() + 1000)
        bench.clock.advance(5000 * NS_PER_TICK)
        assert bench.lines == []

    def test_it_wakes_to_a_line_that_is_high(self, bench: Bench) -> None:
        bench.arm(bench.timers.virtual, 1000)
        due_ns = bench.timers.sleep()
        assert due_ns is not None
        bench.clock.advance(due_ns - bench.clock.now_ns())
        bench.timers.wake()
        assert bench.lines == [(27, True)]
        assert bench.timers.lateness.sum_ns == 0

    def test_one_that_wakes_early_has_its_host_timer_back(self, bench: Bench) -> None:
        bench.arm(bench.timers.physical, 1000)
        bench.timers.sleep()
        bench.timers.wake()
        assert bench.lines == []
        bench.clock.advance(1001 * NS_PER_TICK)
        assert bench.lines == [(30, True)]

    def test_without_a_timer_it_sleeps_without_end(self, bench: Bench) -> None:
        assert bench.timers.sleep() is None

    def test_a_powered_off_one_is_not_woken(self, bench: Bench) -> None:
        bench.arm(bench.timers.virtual, 1000)
        bench.timers.stop()
        bench.timers.sleep()
        bench.timers.wake()
        bench.clock.advance(5000 * NS_PER_TICK)
        assert bench.clock.next_ns() is None
