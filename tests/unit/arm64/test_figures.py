"""What an arm64 vCPU counts of its own."""

from __future__ import annotations

from avmm_arm64.gic.cpu_interface import SPURIOUS
from tests.unit.arm64.fakes import FakeMachine
from tests.unit.arm64.gic_bench import ISPENDR, GicBench

ENABLE = 1


def figures(machine: FakeMachine, index: int) -> dict[str, object]:
    return {" ".join([figure.name, *figure.labels.values()]): value for figure, value in machine.parts[index].figures()}


def test_before_anything_happens(machine: FakeMachine) -> None:
    assert figures(machine, 0) == {
        "timer_fires virtual": 0,
        "timer_fires physical": 0,
        "timer_lateness_seconds": machine.parts[0].timers.lateness,
        "interrupts_acknowledged sgi": 0,
        "interrupts_acknowledged ppi": 0,
        "interrupts_acknowledged spi": 0,
        "interrupts_posted": 0,
        "pmu_overflows event": 0,
        "pmu_overflows cycle": 0,
        "pmu_interrupts": 0,
    }


def test_a_timer_that_fires_counts_once_and_for_its_vcpu(machine: FakeMachine) -> None:
    timers = machine.parts[1].timers
    timers.virtual.write_cval(0)
    timers.virtual.write_ctl(ENABLE)
    timers.update()
    timers.update()
    assert [figures(machine, 1)[f"timer_fires {timer}"] for timer in ("virtual", "physical")] == [1, 0]
    assert figures(machine, 0)["timer_fires virtual"] == 0
    timers.virtual.write_ctl(0)
    timers.update()
    timers.virtual.write_ctl(ENABLE)
    timers.update()
    assert figures(machine, 1)["timer_fires virtual"] == 2


def test_acknowledged_interrupts_by_kind() -> None:
    bench = GicBench()
    for intid in (0, 15, 16, 31):
        bench.enable_private(0, intid, priority=0xA0)
        bench.gicr(0, ISPENDR, 1 << intid)
    bench.enable_spi(40, priority=0xA0)
    bench.spi(40, level=True)
    while (intid := bench.cpu().read_iar1()) != SPURIOUS:
        if intid == 40:
            bench.spi(40, level=False)
        bench.cpu().write_eoir1(intid)
    assert bench.cpu().acknowledged == [2, 2, 1]
