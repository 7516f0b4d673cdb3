"""IHI 0069 clause by clause: what is reserved, what is read-only, who preempts whom, and the life of an interrupt."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from avmm.plugin import Width
from tests.unit.arm64.gic_bench import (
    FRAME,
    ICACTIVER,
    ICENABLER,
    ICFGR,
    ICPENDR,
    IGROUPR,
    IPRIORITYR,
    ISACTIVER,
    ISENABLER,
    ISPENDR,
    SGI_BASE,
    GicBench,
)

SPURIOUS, IDLE = 1023, 0xFF
EOIMODE, CBPR = 1 << 1, 1 << 0
PPI, SPI = 20, 40
BIT = 1 << PPI

# Reserved with one Security state, affinity routing, no LPIs, no message-based or extended SPIs (12.9, 12.10, 12.11).
RESERVED_GICD = {
    "TYPER2": 0x000C,
    "STATUSR": 0x0010,
    "SETSPI_NSR": 0x0040,
    "CLRSPI_NSR": 0x0048,
    "SETSPI_SR": 0x0050,
    "CLRSPI_SR": 0x0058,
    "IGROUPR0": 0x0080,
    "ISENABLER0": 0x0100,
    "ISPENDR0": 0x0200,
    "ISACTIVER0": 0x0300,
    "IPRIORITYR0": 0x0400,
    "ITARGETSR8": 0x0820,
    "ICFGR1": 0x0C04,
    "IGRPMODR1": 0x0D04,
    "NSACR2": 0x0E08,
    "SGIR": 0x0F00,
    "CPENDSGIR0": 0x0F10,
    "SPENDSGIR0": 0x0F20,
    "IGROUPR0E": 0x1000,
    "ISPENDR0E": 0x1600,
    "IROUTER31": 0x60F8,
    "IROUTER288": 0x6900,
}
RESERVED_GICR = {
    "CTLR": 0x0000,
    "STATUSR": 0x0010,
    "SETLPIR": 0x0040,
    "CLRLPIR": 0x0048,
    "PROPBASER": 0x0070,
    "PENDBASER": 0x0078,
    "INVLPIR": 0x00A0,
    "INVALLR": 0x00B0,
    "SYNCR": 0x00C0,
    "IGROUPR1": SGI_BASE + IGROUPR + 4,
    "ISPENDR1": SGI_BASE + ISPENDR + 4,
    "ICFGR2": SGI_BASE + ICFGR + 8,
    "IGRPMODR0": SGI_BASE + 0x0D00,
    "NSACR": SGI_BASE + 0x0E00,
}
READ_ONLY = {"GICD_TYPER": 0x0004, "GICD_IIDR": 0x0008, "GICD_PIDR2": 0xFFE8}
READ_ONLY_GICR = {"IIDR": 0x0004, "TYPER": 0x0008, "TYPER, upper": 0x000C, "PIDR2": 0xFFE8}


@pytest.fixture
def bench() -> GicBench:
    return GicBench()


def pend(bench: GicBench, intid: int, priority: int, *, group: int = 1) -> None:
    """Make a private interrupt of vCPU 0 pending."""
    bench.enable_private(0, intid, priority=priority)
    groups = bench.read_gicr(0, IGROUPR)
    bench.gicr(0, IGROUPR, groups & ~(1 << intid) | group << intid)
    bench.gicr(0, ISPENDR, 1 << intid)


def pending(bench: GicBench) -> list[int]:
    private = [bench.read_gicr(index, ISPENDR) for index in range(2)]
    return private + [bench.read_gicd(ISPENDR + 4 * word) for word in range(1, 9)]


class TestRegisters:
    @pytest.mark.parametrize("width", [Width.W8, Width.W16, Width.W32])
    @pytest.mark.parametrize("value", [0xFFFF_FFFF, SPI])
    @pytest.mark.parametrize("name", RESERVED_GICD)
    def test_what_the_distributor_does_not_have(self, bench: GicBench, name: str, value: int, width: Width) -> None:
        offset = RESERVED_GICD[name]
        bench.gicd(offset, value & (1 << 8 * width) - 1, width)
        assert bench.read_gicd(offset, width) == 0
        assert not any(pending(bench))
        assert bench.read_gicd(0) == 0x53

    @pytest.mark.parametrize("value", [0xFFFF_FFFF, 8192])
    @pytest.mark.parametrize("name", RESERVED_GICR)
    def test_what_a_redistributor_does_not_have(self, bench: GicBench, name: str, value: int) -> None:
        offset = RESERVED_GICR[name]
        bench.gic.region.write(offset, Width.W32, value)
        assert bench.gic.region.read(offset, Width.W32) == 0
        assert not any(pending(bench))

    @pytest.mark.parametrize("name", READ_ONLY)
    def test_the_distributors_identification_cannot_be_written(self, bench: GicBench, name: str) -> None:
        before = bench.read_gicd(READ_ONLY[name])
        bench.gicd(READ_ONLY[name], ~before & 0xFFFF_FFFF)
        assert bench.read_gicd(READ_ONLY[name]) == before != 0

    @pytest.mark.parametrize("name", READ_ONLY_GICR)
    def test_a_redistributors_identification_cannot_be_written(self, bench: GicBench, name: str) -> None:
        offset = FRAME + READ_ONLY_GICR[name]
        before = bench.gic.region.read(offset, Width.W32)
        bench.gic.region.write(offset, Width.W32, ~before & 0xFFFF_FFFF)
        assert bench.gic.region.read(offset, Width.W32) == before != 0

    def test_a_private_priority_by_byte_halfword_and_word(self, bench: GicBench) -> None:
        """12.1.3: bytes and words; a halfword is not there to be written."""
        bench.gicr(0, IPRIORITYR + 20, 0xFF, Width.W8)
        bench.gicr(0, IPRIORITYR + 22, 0xFFFF, Width.W16)
        assert bench.read_gicr(0, IPRIORITYR + 20) == 0x0000_00F8
        bench.gicr(0, IPRIORITYR + 20, 0x10_20_30_47)
        assert [bench.read_gicr(0, IPRIORITYR + n, Width.W8) for n in range(20, 24)] == [0x40, 0x30, 0x20, 0x10]

    @pytest.mark.parametrize(("setter", "clearer"), [(ISENABLER, ICENABLER), (ISPENDR, ICPENDR), (ISACTIVER, ICACTIVER)])
    def test_private_bits_are_set_and_cleared_by_ones(self, bench: GicBench, setter: int, clearer: int) -> None:
        bench.gicr(1, setter, 0b1101)
        bench.gicr(1, setter, 0b0010)
        assert bench.read_gicr(1, setter) == bench.read_gicr(1, clearer) == 0b1111
        bench.gicr(1, clearer, 0b0101)
        assert (bench.read_gicr(1, setter), bench.read_gicr(0, setter)) == (0b1010, 0)

    def test_a_sleeping_redistributor_forwards_all_the_same(self, bench: GicBench) -> None:
        """GICR_WAKER: departs from 12.11 as KVM does (docs/departures.md)."""
        assert bench.gic.region.read(0x14, Width.W32) == 0b110
        pend(bench, PPI, 0xA0)
        assert bench.irq()


class TestGrouping:
    """4.8.2: which bits of a priority decide preemption."""

    # Binary point: the group priority field of Group 0, and of Group 1, whose point lies one bit further right.
    FIELDS = (
        (0, 0xF8, 0xF8),
        (1, 0xF8, 0xF8),
        (2, 0xF8, 0xF8),
        (3, 0xF0, 0xF8),
        (4, 0xE0, 0xF0),
        (5, 0xC0, 0xE0),
        (6, 0x80, 0xC0),
        (7, 0, 0x80),
    )

    @pytest.mark.parametrize("group", [0, 1])
    @pytest.mark.parametrize("row", FIELDS, ids=lambda row: f"bpr={row[0]}")
    def test_by_binary_point(self, bench: GicBench, row: tuple[int, int, int], group: int) -> None:
        point, field = row[0], row[1 + group]
        cpu = bench.cpu()
        (cpu.write_bpr0, cpu.write_bpr1)[group](point)
        acknowledge = (cpu.read_iar0, cpu.read_iar1)[group]
        pend(bench, PPI, 0xD8, group=group)
        assert acknowledge() == PPI
        assert cpu.read_rpr() == 0xD8 & field
        assert cpu.read_apr(group) == 1 << ((0xD8 & field) >> 3)
        for priority in range(0, 0x100, 8):
            bench.gicr(0, ICPENDR, 1 << 21)
            pend(bench, 21, priority, group=group)
            assert (cpu.irq or cpu.fiq) is (priority & field < 0xD8 & field), hex(priority)

    @pytest.mark.parametrize("group", [0, 1])
    @pytest.mark.parametrize("row", FIELDS[2:], ids=lambda row: f"bpr={row[0]}")
    def test_cbpr_has_group_0_decide_for_both(self, bench: GicBench, row: tuple[int, int, int], group: int) -> None:
        cpu = bench.cpu()
        cpu.write_bpr0(row[0])
        cpu.write_bpr1(7)
        cpu.write_ctlr(CBPR)
        pend(bench, PPI, 0xD8, group=group)
        assert (cpu.read_iar0, cpu.read_iar1)[group]() == PPI
        assert cpu.read_rpr() == 0xD8 & row[1]

    @pytest.mark.parametrize("running_group", [0, 1])
    @pytest.mark.parametrize("group", [0, 1])
    @pytest.mark.parametrize(("priority", "preempts"), [(0x78, True), (0x80, False), (0x88, False)])
    def test_a_group_preempts_the_other_by_priority_alone(
        self, bench: GicBench, running_group: int, group: int, priority: int, preempts: bool
    ) -> None:
        cpu = bench.cpu()
        pend(bench, PPI, 0x80, group=running_group)
        assert (cpu.read_iar0, cpu.read_iar1)[running_group]() == PPI
        pend(bench, 21, priority, group=group)
        assert (cpu.fiq, cpu.irq) == (preempts and group == 0, preempts and group == 1)

    def test_masked_by_the_whole_priority_not_by_its_group(self, bench: GicBench) -> None:
        """4.8.6: the mask is compared before grouping."""
        cpu = bench.cpu()
        cpu.write_bpr1(7)
        pend(bench, PPI, 0x88)
        cpu.write_pmr(0x88)
        assert not bench.irq()
        cpu.write_pmr(0x90)
        assert bench.irq()

    def test_the_lowest_priority_is_never_signalled(self, bench: GicBench) -> None:
        bench.cpu().write_pmr(0xFF)
        pend(bench, PPI, 0xFF)
        assert bench.read_gicr(0, IPRIORITYR + PPI, Width.W8) == 0xF8
        assert not bench.irq()
        assert bench.cpu().read_hppir1() == PPI


class TestEnd:
    """4.8.5, 4.8.6: acknowledge, priority drop, deactivation."""

    def test_in_the_wrong_order(self, bench: GicBench) -> None:
        """The innermost priority is dropped, whatever INTID is written; what is deactivated is that INTID."""
        cpu = bench.cpu()
        for intid, priority in ((PPI, 0xA0), (21, 0x40)):
            pend(bench, intid, priority)
            assert cpu.read_iar1() == intid
        cpu.write_eoir1(PPI)
        assert (cpu.read_rpr(), bench.read_gicr(0, ISACTIVER)) == (0xA0, 1 << 21)
        cpu.write_eoir1(21)
        assert (cpu.read_rpr(), bench.read_gicr(0, ISACTIVER)) == (IDLE, 0)

    def test_with_eoimode_1_in_any_order_of_deactivation(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        cpu.write_ctlr(EOIMODE)
        for intid, priority in ((PPI, 0xA0), (21, 0x40)):
            pend(bench, intid, priority)
            assert cpu.read_iar1() == intid
        cpu.write_eoir1(21)
        cpu.write_eoir1(PPI)
        assert (cpu.read_rpr(), bench.read_gicr(0, ISACTIVER)) == (IDLE, 1 << 21 | BIT)
        cpu.write_dir(PPI)
        assert bench.read_gicr(0, ISACTIVER) == 1 << 21
        cpu.write_dir(21)
        assert bench.read_gicr(0, ISACTIVER) == 0

    @pytest.mark.parametrize("intid", [1020, 1021, 1022, 1023, 8192])
    def test_special_intids_are_not_deactivated(self, bench: GicBench, intid: int) -> None:
        cpu = bench.cpu()
        cpu.write_ctlr(EOIMODE)
        pend(bench, PPI, 0xA0)
        cpu.read_iar1()
        cpu.write_dir(intid)
        assert bench.read_gicr(0, ISACTIVER) == BIT

    def test_a_higher_pending_interrupt_of_the_other_group_hides_what_could_be_acknowledged(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        pend(bench, PPI, 0xA0, group=0)
        pend(bench, 21, 0x40, group=1)
        assert cpu.read_iar0() == SPURIOUS
        assert (cpu.read_iar1(), cpu.read_iar0()) == (21, SPURIOUS), "its priority is no higher than the running one"
        cpu.write_eoir1(21)
        assert cpu.read_iar0() == PPI

    def test_both_groups_nest_and_end_each_by_its_own_register(self, bench: GicBench) -> None:
        cpu = bench.cpu()
        steps = ((PPI, 0xA0, 1), (21, 0x80, 0), (22, 0x40, 1), (23, 0x20, 0))
        for intid, priority, group in steps:
            pend(bench, intid, priority, group=group)
            assert (cpu.read_iar0, cpu.read_iar1)[group]() == intid
        assert (cpu.read_apr(0), cpu.read_apr(1)) == (1 << 16 | 1 << 4, 1 << 20 | 1 << 8)
        for intid, priority, group in reversed(steps):
            assert cpu.read_rpr() == priority
            (cpu.write_eoir1, cpu.write_eoir0)[group](intid)  # of the other group: nothing
            assert cpu.read_rpr() == priority
            (cpu.write_eoir0, cpu.write_eoir1)[group](intid)
        assert (cpu.read_rpr(), bench.read_gicr(0, ISACTIVER)) == (IDLE, 0)


def activate(bench: GicBench) -> None:
    pend(bench, PPI, 0xA0)
    assert bench.cpu().read_iar1() == PPI


def raise_wire(bench: GicBench) -> None:
    bench.gic.set_ppi_level(0, PPI, level=True)


def lower_wire(bench: GicBench) -> None:
    bench.gic.set_ppi_level(0, PPI, level=False)


def enable(bench: GicBench) -> None:
    bench.enable_private(0, PPI)


def write(offset: int) -> Callable[[GicBench], None]:
    return lambda bench: bench.gicr(0, offset, BIT)


def end(bench: GicBench) -> None:
    bench.cpu().write_eoir1(PPI)


# Steps, then whether the PPI is pending, active, signalled (4.1.2 and 12.9, ISPENDR to ICACTIVER).
LIVES: dict[str, tuple[tuple[Callable[[GicBench], None], ...], tuple[bool, bool, bool]]] = {
    "a level is pending": ((enable, raise_wire), (True, False, True)),
    "as long as it lasts": ((enable, raise_wire, lower_wire), (False, False, False)),
    "whether enabled or not": ((raise_wire,), (True, False, False)),
    "clearing it does nothing while the wire is high": ((enable, raise_wire, write(ICPENDR)), (True, False, True)),
    "made pending, it outlasts the wire": ((enable, write(ISPENDR), raise_wire, lower_wire), (True, False, True)),
    "until cleared": ((enable, write(ISPENDR), raise_wire, lower_wire, write(ICPENDR)), (False, False, False)),
    "clearing takes the latch, not the level": ((enable, write(ISPENDR), raise_wire, write(ICPENDR)), (True, False, True)),
    "acknowledged with the wire low": ((activate,), (False, True, False)),
    "acknowledged with the wire high": ((raise_wire, activate), (True, True, False)),
    "which goes low": ((raise_wire, activate, lower_wire), (False, True, False)),
    "ended with the wire high": ((raise_wire, activate, end), (True, False, True)),
    "made pending while active": ((activate, write(ISPENDR)), (True, True, False)),
    "and ended": ((activate, write(ISPENDR), end), (True, False, True)),
    "cleared while active and pending": ((activate, write(ISPENDR), write(ICPENDR), end), (False, False, False)),
    "disabled while active": ((activate, write(ICENABLER)), (False, True, False)),
    "and ended, disabled": ((raise_wire, activate, write(ICENABLER), end), (True, False, False)),
    "and enabled again": ((raise_wire, activate, write(ICENABLER), end, write(ISENABLER)), (True, False, True)),
    "made active": ((enable, raise_wire, write(ISACTIVER)), (True, True, False)),
    "and inactive": ((enable, raise_wire, write(ISACTIVER), write(ICACTIVER)), (True, False, True)),
    "made inactive in its handler": ((raise_wire, activate, write(ICACTIVER)), (True, False, False)),
    "that ends": ((raise_wire, activate, write(ICACTIVER), end), (True, False, True)),
}


@pytest.mark.parametrize("name", LIVES)
def test_the_life_of_a_level_sensitive_interrupt(bench: GicBench, name: str) -> None:
    steps, expected = LIVES[name]
    for step in steps:
        step(bench)
    state = bool(bench.read_gicr(0, ISPENDR) & BIT), bool(bench.read_gicr(0, ISACTIVER) & BIT), bench.irq()
    assert state == expected


def test_a_priority_or_group_changed_while_active_leaves_what_runs(bench: GicBench) -> None:
    cpu = bench.cpu()
    activate(bench)
    bench.gicr(0, IPRIORITYR + PPI, 0x10, Width.W8)
    bench.gicr(0, IGROUPR, 0)
    assert (cpu.read_rpr(), cpu.read_apr(0), cpu.read_apr(1)) == (0xA0, 0, 1 << 20)
    cpu.write_eoir1(PPI)
    assert (cpu.read_rpr(), bench.read_gicr(0, ISACTIVER)) == (IDLE, 0)


def test_a_wire_that_is_high_is_no_edge_when_it_becomes_edge_triggered(bench: GicBench) -> None:
    bench.enable_spi(SPI)
    bench.spi(SPI, level=True)
    bench.gicd(ICFGR + 8, 2 << 16)
    assert not bench.irq()
    bench.spi(SPI, level=False)
    bench.spi(SPI, level=True)
    assert bench.irq()
