"""What each kind of reset leaves of timers, PMU and interrupt controller, register by register."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from avmm.plugin import CountedEvent, TimerHandle, Width
from avmm_arm64.pmu_events import PmuEvent
from avmm_arm64.requests import ArmRequest
from tests.unit.arm64.fakes import FakeMachine
from tests.unit.arm64.firmware_calls import CONTEXT, CPU_OFF, CPU_ON, CPU_SUSPEND, ENTRY, SMC64, call
from tests.unit.arm64.gic_bench import FRAME, IPRIORITYR, ISENABLER, SGI_BASE

VIRTUAL, PHYSICAL, PMU_PPI = 27, 30, 23
TICK_NS = 16
LC = 1 << 6
ISTATUS = 1 << 2
"""The condition, which is met by a CVAL of 0, whether the timer is enabled or not."""


def cpu_on(machine: FakeMachine) -> None:
    """PSCI CPU_OFF by vCPU 0 itself, then CPU_ON by vCPU 1."""
    call(machine, CPU_OFF)
    call(machine, CPU_ON | SMC64, 0, ENTRY, CONTEXT, vcpu=1)
    machine.parts[0].handle_reset()


def system_reset(machine: FakeMachine) -> None:
    """As the VM does it once its vCPUs have stopped."""
    machine.arch.reset()
    for parts in machine.parts:
        parts.reset()


def vcpu_init(machine: FakeMachine) -> None:
    """KVM_ARM_VCPU_INIT on a vCPU that has run."""
    machine.parts[0].reset()


RESETS = (cpu_on, system_reset, vcpu_init)

# What is written, and what is read after a reset.
REGISTERS = {
    "CNTV_CVAL_EL0": (1 << 40, 1 << 40),
    "CNTP_CVAL_EL0": (1 << 41, 1 << 41),
    "CNTV_CTL_EL0": (0b11, ISTATUS),
    "CNTP_CTL_EL0": (0b11, ISTATUS),
    "CNTKCTL_EL1": (0x3FF, 0),
    "PMCR_EL0": (0b1011_1001, 0x4101_0000 | 6 << 11 | LC),
    "PMCNTENSET_EL0": (0x8000_003F, 0),
    "PMINTENSET_EL1": (0x8000_003F, 0),
    "PMOVSSET_EL0": (0x8000_003F, 0),
    "PMSELR_EL0": (5, 0),
    "PMUSERENR_EL0": (0xF, 0),
    "PMCCNTR_EL0": (1234, 0),
    "PMCCFILTR_EL0": (1 << 31, 0),
    "PMEVCNTR5_EL0": (1234, 0),
    "PMEVTYPER5_EL0": (1 << 30 | PmuEvent.INST_RETIRED, 0),
    "ICC_PMR_EL1": (0xF8, 0),
    "ICC_BPR0_EL1": (5, 2),
    "ICC_BPR1_EL1": (5, 3),
    "ICC_CTLR_EL1": (3, 4 << 8),
    "ICC_IGRPEN0_EL1": (1, 0),
    "ICC_IGRPEN1_EL1": (1, 0),
    "ICC_AP0R0_EL1": (1 << 9, 0),
    "ICC_AP1R0_EL1": (1 << 10, 0),
    "ICC_SRE_EL1": (0, 7),
}


@pytest.fixture
def machine() -> FakeMachine:
    machine = FakeMachine()
    machine.vm.fakes[1].powered_off = False
    return machine


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("name", REGISTERS)
def test_a_register_after_a_reset(machine: FakeMachine, name: str, reset: Callable[[FakeMachine], None]) -> None:
    written, after = REGISTERS[name]
    fresh = machine.mrs(0, name)
    machine.msr(0, name, written)
    reset(machine)
    assert machine.mrs(0, name) == after
    if not name.endswith("CVAL_EL0"):
        assert fresh == after, "as out of power-on"


def pending(machine: FakeMachine) -> int:
    return machine.arch.gic.private_bank(0).pending()


def due_ns(machine: FakeMachine) -> int:
    due = machine.parts[0].timers.virtual.due_ns
    assert due is not None
    return due


def advance_to(machine: FakeMachine, when_ns: int) -> None:
    machine.vm.clock.advance(when_ns - machine.vm.clock.now_ns())


def drive_all(machine: FakeMachine) -> None:
    """Both timers due, a counter overflowed: three lines high."""
    for letter in "VP":
        machine.msr(0, f"CNT{letter}_CVAL_EL0", 0)
        machine.msr(0, f"CNT{letter}_CTL_EL0", 1)
    machine.msr(0, "PMINTENSET_EL1", 1)
    machine.msr(0, "PMOVSSET_EL0", 1)
    machine.msr(0, "PMCR_EL0", 1)
    assert pending(machine) == 1 << VIRTUAL | 1 << PHYSICAL | 1 << PMU_PPI


@pytest.mark.parametrize("reset", RESETS)
class TestAnyReset:
    def test_all_lines_are_low(self, machine: FakeMachine, reset: Callable[[FakeMachine], None]) -> None:
        drive_all(machine)
        reset(machine)
        assert pending(machine) == 0
        machine.parts[0].flush_hwstate()
        assert pending(machine) == 0

    def test_the_counter_goes_on(self, machine: FakeMachine, reset: Callable[[FakeMachine], None]) -> None:
        machine.vm.clock.advance(1000 * TICK_NS)
        offsets = [counter.offset for counter in machine.parts[0].counters]
        machine.msr(0, "CNTV_CVAL_EL0", 1500)
        reset(machine)
        assert [counter.offset for counter in machine.parts[0].counters] == offsets
        assert machine.mrs(0, "CNTV_TVAL_EL0") == 500

    def test_a_timer_that_was_armed_stays_silent(self, machine: FakeMachine, reset: Callable[[FakeMachine], None]) -> None:
        machine.msr(0, "CNTV_TVAL_EL0", 100)
        machine.msr(0, "CNTV_CTL_EL0", 1)
        reset(machine)
        machine.vm.clock.advance(1000 * TICK_NS)
        machine.parts[0].flush_hwstate()
        assert (pending(machine), machine.vm.fakes[0].kicked) == (0, [])

    def test_a_timer_armed_afterwards_fires_when_it_is_due(
        self, machine: FakeMachine, reset: Callable[[FakeMachine], None]
    ) -> None:
        reset(machine)
        machine.msr(0, "CNTV_TVAL_EL0", 100)
        machine.msr(0, "CNTV_CTL_EL0", 1)
        advance_to(machine, due_ns(machine) - 1)
        assert pending(machine) == 0
        advance_to(machine, due_ns(machine))
        assert pending(machine) == 1 << VIRTUAL

    def test_nothing_counts(self, machine: FakeMachine, reset: Callable[[FakeMachine], None]) -> None:
        machine.msr(0, "PMEVTYPER0_EL0", PmuEvent.INST_RETIRED)
        machine.msr(0, "PMCNTENSET_EL0", 1)
        machine.msr(0, "PMCR_EL0", 1)
        assert machine.engines[0].mask
        reset(machine)
        assert machine.engines[0].mask == 0
        machine.engines[0].happened(CountedEvent.INSTRUCTIONS, 1)
        assert machine.mrs(0, "PMEVCNTR0_EL0") == 0

    def test_what_the_host_has_counted_stays(self, machine: FakeMachine, reset: Callable[[FakeMachine], None]) -> None:
        drive_all(machine)
        timers, pmu = machine.parts[0].timers, machine.parts[0].pmu
        assert pmu is not None
        before = timers.virtual.fires, timers.physical.fires, pmu.interrupts
        reset(machine)
        assert (timers.virtual.fires, timers.physical.fires, pmu.interrupts) == before == (1, 1, 1)

    def test_another_vcpus_are_its_own(self, machine: FakeMachine, reset: Callable[[FakeMachine], None]) -> None:
        machine.msr(1, "CNTV_CTL_EL0", 3)
        machine.msr(1, "PMUSERENR_EL0", 1)
        reset(machine)
        alone = reset is not system_reset
        assert (machine.mrs(1, "CNTV_CTL_EL0") & 3, machine.mrs(1, "PMUSERENR_EL0")) == ((3, 1) if alone else (0, 0))

    def test_the_redistributor_is_reset_with_the_whole_system_alone(
        self, machine: FakeMachine, reset: Callable[[FakeMachine], None]
    ) -> None:
        """It belongs to the interrupt controller, not to the PE."""
        region = machine.arch.gic.region
        region.write(SGI_BASE + ISENABLER, Width.W32, 1 << VIRTUAL)
        region.write(FRAME + SGI_BASE + IPRIORITYR, Width.W8, 0x40)
        reset(machine)
        kept = region.read(SGI_BASE + ISENABLER, Width.W32), region.read(FRAME + SGI_BASE + IPRIORITYR, Width.W8) & 0xFF
        assert kept == ((0, 0) if reset is system_reset else (1 << VIRTUAL, 0x40))


class TestPoweredOff:
    def test_its_registers_stay_as_they_are(self, machine: FakeMachine) -> None:
        machine.msr(0, "CNTV_CVAL_EL0", 1 << 40)
        machine.msr(0, "CNTV_CTL_EL0", 1)
        machine.msr(0, "PMUSERENR_EL0", 0xF)
        call(machine, CPU_OFF)
        assert (machine.mrs(0, "CNTV_CTL_EL0"), machine.mrs(0, "PMUSERENR_EL0")) == (1, 0xF)

    def test_a_host_timer_that_fires_all_the_same_wakes_nobody(
        self, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was on its way when the vCPU went off."""
        fires: list[Callable[[], None]] = []
        call_at = machine.vm.clock.call_at

        def keep(when_ns: int, callback: Callable[[], None]) -> TimerHandle:
            fires.append(callback)
            return call_at(when_ns, callback)

        monkeypatch.setattr(machine.vm.clock, "call_at", keep)
        machine.msr(0, "CNTV_TVAL_EL0", 100)
        machine.msr(0, "CNTV_CTL_EL0", 1)
        call(machine, CPU_OFF)
        machine.vm.clock.advance(1000 * TICK_NS)
        for fire in fires:
            fire()
        assert len(fires) == 1
        assert (pending(machine), machine.vm.fakes[0].kicked) == (0, [])

    @pytest.mark.parametrize(("function", "woken"), [(CPU_OFF, []), (CPU_SUSPEND, [ArmRequest.IRQ_PENDING])])
    def test_a_timer_wakes_who_is_suspended_and_not_who_is_off(
        self, machine: FakeMachine, function: int, woken: list[int]
    ) -> None:
        machine.arch.gic.region.write(SGI_BASE + ISENABLER, Width.W32, 1 << VIRTUAL)
        machine.arch.gic.distributor.write(0, Width.W32, 1)
        for name, value in (("ICC_PMR_EL1", 0xFF), ("ICC_IGRPEN0_EL1", 1), ("CNTV_TVAL_EL0", 100), ("CNTV_CTL_EL0", 1)):
            machine.msr(0, name, value)
        call(machine, function)
        advance_to(machine, due_ns(machine) - 1)
        assert machine.vm.fakes[0].kicked == []
        advance_to(machine, due_ns(machine))
        assert machine.vm.fakes[0].kicked == woken
        assert machine.parts[0].runnable() is bool(woken)
