"""The CPU interface: IHI 0069 chapter 4 (priorities, preemption, acknowledge, end) and 12.2 (ICC registers)."""

from __future__ import annotations

import pytest

from tests.unit.arm64.gic_bench import IGROUPR, ISENABLER, ISPENDR, GicBench

SPURIOUS = 1023
IDLE = 0xFF
CBPR, EOIMODE = 1, 2


@pytest.fixture
def bench() -> GicBench:
    return GicBench()


def pend(bench: GicBench, intid: int, priority: int) -> None:
    """Make a PPI or SGI of vCPU 0 pending at `priority`."""
    bench.enable_private(0, intid, priority=priority)
    bench.gicr(0, ISPENDR, 1 << intid)


class TestSignalling:
    """4.8.3: what is signalled to the PE."""

    def test_an_enabled_pending_interrupt_raises_the_pin(self, bench: GicBench) -> None:
        pend(bench, 20, 0xA0)
        assert bench.irq()

    def test_a_disabled_interrupt_does_not(self, bench: GicBench) -> None:
        bench.gicr(0, ISPENDR, 1 << 20)
        assert not bench.irq()
        bench.gicr(0, ISENABLER, 1 << 20)
        assert bench.irq()

    @pytest.mark.parametrize(("mask", "signalled"), [(0xA8, True), (0xA0, False), (0x98, False), (0, False)])
    def test_the_priority_must_be_above_the_mask(self, bench: GicBench, mask: int, signalled: bool) -> None:
        pend(bench, 20, 0xA0)
        bench.cpu().write_pmr(mask)
        assert bench.irq() is signalled
        assert bench.cpu().read_iar1() == (20 if signalled else SPURIOUS)

    def test_the_mask_keeps_five_bits(self, bench: GicBench) -> None:
        bench.cpu().write_pmr(0xFFF)
        assert bench.cpu().read_pmr() == 0xF8

    def test_highest_priority_first_then_lowest_intid(self, bench: GicBench) -> None:
        for intid, priority in ((20, 0xA0), (3, 0xA0), (25, 0x40)):
            pend(bench, intid, priority)
        bench.enable_spi(40, priority=0x20)
        bench.spi(40, level=True)
        order = []
        while (intid := bench.cpu().read_iar1()) != SPURIOUS:
            order.append(intid)
            bench.spi(40, level=False)
            bench.cpu().write_eoir1(intid)
        assert order == [40, 25, 3, 20]

    @pytest.mark.parametrize("group", [0, 1])
    def test_a_group_is_enabled_in_both_places(self, bench: GicBench, group: int) -> None:
        pend(bench, 20, 0xA0)
        bench.gicr(0, IGROUPR, group << 20)
        cpu = bench.cpu()
        pins = (bench.irq(), cpu.fiq)
        assert pins == (group == 1, group == 0)
        (cpu.write_igrpen0, cpu.write_igrpen1)[group](0)
        assert not cpu.irq
        assert not cpu.fiq
        (cpu.write_igrpen0, cpu.write_igrpen1)[group](1)
        bench.gicd(0, 0b11 & ~(1 << group))
        assert not cpu.irq
        assert not cpu.fiq

    def test_a_group_that_is_off_does_not_hide_the_other(self, bench: GicBench) -> None:
        pend(bench, 20, 0x10)
        pend(bench, 21, 0xA0)
        bench.gicr(0, IGROUPR, 1 << 21)
        bench.cpu().write_igrpen0(0)
        assert bench.cpu().read_iar1() == 21

    def test_a_higher_group_0_interrupt_takes_the_pin(self, bench: GicBench) -> None:
        pend(bench, 20, 0x10)
        pend(bench, 21, 0xA0)
        bench.gicr(0, IGROUPR, 1 << 21)
        cpu = bench.cpu()
        assert (cpu.irq, cpu.fiq) == (False, True)
        assert cpu.read_iar1() == SPURIOUS
        assert (cpu.read_hppir0(), cpu.read_hppir1()) == (20, SPURIOUS)
        assert cpu.read_iar0() == 20
        assert cpu.read_hppir1() == 21

    def test_hppir_looks_behind_the_mask_and_acknowledges_nothing(self, bench: GicBench) -> None:
        pend(bench, 20, 0xA0)
        bench.cpu().write_pmr(0)
        assert bench.cpu().read_hppir1() == 20
        assert bench.read_gicr(0, ISPENDR) == 1 << 20

    def test_nothing_pending_reads_spurious(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        assert [cpu.read_iar0(), cpu.read_iar1(), cpu.read_hppir0(), cpu.read_hppir1()] == [SPURIOUS] * 4


class TestPreemption:
    """4.8.2 priority grouping, 4.8.5 preemption."""

    def test_running_priority(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        assert cpu.read_rpr() == IDLE
        pend(bench, 20, 0xA0)
        cpu.read_iar1()
        assert cpu.read_rpr() == 0xA0
        assert cpu.read_apr(1) == 1 << (0xA0 >> 3)
        cpu.write_eoir1(20)
        assert cpu.read_rpr() == IDLE

    def test_only_a_higher_group_priority_preempts(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        pend(bench, 20, 0x80)
        assert cpu.read_iar1() == 20
        pend(bench, 21, 0x80)
        assert not bench.irq()
        pend(bench, 22, 0x78)
        assert cpu.read_iar1() == 22
        assert cpu.read_rpr() == 0x78
        cpu.write_eoir1(22)
        assert cpu.read_rpr() == 0x80
        assert not bench.irq()
        cpu.write_eoir1(20)
        assert cpu.read_iar1() == 21

    def test_the_binary_point_groups_priorities(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        cpu.write_bpr1(5)  # group priority is bits 7:5
        pend(bench, 20, 0xB8)
        cpu.read_iar1()
        assert cpu.read_rpr() == 0xA0
        pend(bench, 21, 0xA0)
        assert not bench.irq(), "same group priority"
        pend(bench, 22, 0x98)
        assert bench.irq()

    @pytest.mark.parametrize(("written", "bpr0", "bpr1"), [(0, 2, 3), (2, 2, 3), (3, 3, 3), (7, 7, 7), (0xFF, 7, 7)])
    def test_binary_points_have_minimums(self, bench: GicBench, written: int, bpr0: int, bpr1: int) -> None:
        cpu = bench.cpu()
        cpu.write_bpr0(written)
        cpu.write_bpr1(written)
        assert (cpu.read_bpr0(), cpu.read_bpr1()) == (bpr0, bpr1)

    def test_cbpr_makes_group_1_use_bpr0(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        cpu.write_bpr0(5)
        cpu.write_ctlr(CBPR)
        assert cpu.read_bpr1() == 6
        cpu.write_bpr1(3)
        assert cpu.read_bpr1() == 6, "ignored"
        cpu.write_ctlr(0)
        assert cpu.read_bpr1() == 3
        cpu.write_bpr0(7)
        cpu.write_ctlr(CBPR)
        assert cpu.read_bpr1() == 7, "saturated"

    def test_binary_point_seven_never_preempts(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        cpu.write_bpr0(7)
        cpu.write_ctlr(CBPR)
        pend(bench, 20, 0xF0)
        assert cpu.read_iar1() == 20
        pend(bench, 21, 0x00)
        assert not bench.irq()

    def test_active_priorities_can_be_saved_and_restored(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        pend(bench, 20, 0x40)
        cpu.read_iar1()
        saved = cpu.read_apr(1)
        cpu.write_apr(1, 0)
        assert cpu.read_rpr() == IDLE
        cpu.write_apr(1, saved)
        assert cpu.read_rpr() == 0x40


class TestEnd:
    """4.8.6: priority drop and deactivation, EOImode."""

    def test_eoir_deactivates_with_eoimode_0(self, bench: GicBench) -> None:
        pend(bench, 20, 0xA0)
        cpu = bench.cpu()
        cpu.read_iar1()
        assert bench.read_gicr(0, 0x300) == 1 << 20
        cpu.write_eoir1(20)
        assert bench.read_gicr(0, 0x300) == 0

    def test_eoir_only_drops_with_eoimode_1(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        cpu.write_ctlr(EOIMODE)
        pend(bench, 20, 0xA0)
        cpu.read_iar1()
        cpu.write_eoir1(20)
        assert cpu.read_rpr() == IDLE
        assert bench.read_gicr(0, 0x300) == 1 << 20
        bench.gicr(0, ISPENDR, 1 << 20)
        assert not bench.irq(), "active and pending: not again before it is deactivated"
        cpu.write_dir(20)
        assert bench.read_gicr(0, 0x300) == 0
        assert bench.irq()

    def test_dir_is_ignored_with_eoimode_0(self, bench: GicBench) -> None:
        pend(bench, 20, 0xA0)
        bench.cpu().read_iar1()
        bench.cpu().write_dir(20)
        assert bench.read_gicr(0, 0x300) == 1 << 20

    @pytest.mark.parametrize("intid", [1020, 1021, 1022, 1023, 8192, 0xFFFFFF])
    def test_special_and_unknown_intids_drop_nothing(self, bench: GicBench, intid: int) -> None:
        pend(bench, 20, 0xA0)
        bench.cpu().read_iar1()
        bench.cpu().write_eoir1(intid)
        assert bench.cpu().read_rpr() == 0xA0

    def test_eoir_of_the_other_group_is_ignored(self, bench: GicBench) -> None:
        pend(bench, 20, 0xA0)
        bench.cpu().read_iar1()
        bench.cpu().write_eoir0(20)
        assert bench.cpu().read_rpr() == 0xA0
        assert bench.read_gicr(0, 0x300) == 1 << 20

    def test_eoir_below_the_running_group_is_ignored(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        pend(bench, 20, 0xA0)
        assert cpu.read_iar1() == 20
        pend(bench, 21, 0x40)
        bench.gicr(0, IGROUPR, 1 << 20)
        assert cpu.read_iar0() == 21
        cpu.write_eoir1(20)
        assert cpu.read_rpr() == 0x40
        cpu.write_eoir0(21)
        assert cpu.read_rpr() == 0xA0, "not dropped before its turn"
        cpu.write_eoir1(20)
        assert cpu.read_rpr() == IDLE

    def test_eoir_without_an_active_interrupt_is_ignored(self, bench: GicBench) -> None:
        bench.cpu().write_eoir1(20)
        assert bench.cpu().read_rpr() == IDLE

    def test_another_vcpu_may_deactivate_a_shared_interrupt(self, bench: GicBench) -> None:
        bench.enable_spi(40)
        bench.spi(40, level=True)
        for index in (0, 1):
            bench.cpu(index).write_ctlr(EOIMODE)
        assert bench.cpu(0).read_iar1() == 40
        bench.cpu(0).write_eoir1(40)
        assert not bench.irq(0)
        bench.cpu(1).write_dir(40)
        assert bench.irq(0), "still asserted, so pending again at once on its target"


class TestRegisters:
    def test_ctlr_says_five_priority_bits(self, bench: GicBench) -> None:
        assert bench.cpu().read_ctlr() == 4 << 8
        bench.cpu().write_ctlr(0xFFFF_FFFF)
        assert bench.cpu().read_ctlr() == 4 << 8 | CBPR | EOIMODE

    def test_group_enables(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        cpu.write_igrpen0(0xFE)
        assert (cpu.read_igrpen0(), cpu.read_igrpen1()) == (0, 1)
        cpu.write_igrpen1(0)
        cpu.write_igrpen0(0xFF)
        assert (cpu.read_igrpen0(), cpu.read_igrpen1()) == (1, 0)

    def test_reset_forgets_the_interface_and_keeps_the_pending(self, bench: GicBench) -> None:
        pend(bench, 20, 0xA0)
        cpu = bench.cpu()
        cpu.read_iar1()
        bench.gicr(0, ISPENDR, 1 << 21)
        cpu.reset()
        assert not bench.irq()
        registers = (cpu.read_pmr(), cpu.read_igrpen0(), cpu.read_igrpen1(), cpu.read_bpr0(), cpu.read_bpr1(), cpu.read_rpr())
        assert registers == (0, 0, 0, 2, 3, IDLE)
        assert bench.read_gicr(0, ISPENDR) == 1 << 21
