"""The GICv2 (Arm IHI 0048B), register by register, as each vCPU sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.plugin import DeviceLock, ExternalAbort, Hypercall, Width
from avmm_arm64.gic import BankedTraps, GicV2
from tests.unit.arm64.gicv2_bench import IDLE, OTHER_GROUP, SPURIOUS, Bench, Ctlr, Gicc, Gicd


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestIdentification:
    @pytest.mark.parametrize("vcpus", range(1, 9))
    def test_the_type_says_how_many(self, vcpus: int) -> None:
        """4.3.2: CPUNumber and ITLinesNumber; read-only."""
        bench = Bench(vcpus)
        bench.gicd(Gicd.TYPER, 0)
        assert bench.gicd(Gicd.TYPER) == vcpus - 1 << 5 | 8

    def test_versions(self, bench: Bench) -> None:
        assert bench.gicd(Gicd.PIDR2) >> 4 == 2
        assert bench.gicc(Gicc.IIDR) >> 16 & 0xF == 2
        assert bench.gicd(Gicd.IIDR) & 0xFFF == bench.gicc(Gicc.IIDR) & 0xFFF == 0x43B


class TestTargets:
    """4.3.12."""

    def test_private_interrupts_target_whoever_asks(self, bench: Bench) -> None:
        for cpu in range(4):
            bench.gicd(Gicd.ITARGETSR, 0xFFFF_FFFF, cpu=cpu)
            assert [bench.gicd(Gicd.ITARGETSR + n, cpu=cpu) for n in range(0, 32, 4)] == [0x0101_0101 << cpu] * 8

    @pytest.mark.parametrize(("vcpus", "kept"), [(1, 0x0101_0001), (3, 0x0103_0207), (8, 0x0103_020F)])
    def test_vcpus_that_are_not_there_cannot_be_targets(self, vcpus: int, kept: int) -> None:
        bench = Bench(vcpus)
        bench.gicd(Gicd.ITARGETSR + 32, 0x0103_020F)
        assert bench.gicd(Gicd.ITARGETSR + 32) == kept

    def test_bytes_can_be_accessed(self, bench: Bench) -> None:
        bench.gicd(Gicd.ITARGETSR + 34, 0x0C, width=Width.W8)
        assert bench.gicd(Gicd.ITARGETSR + 34, width=Width.W8) == 0x0C
        assert bench.gicd(Gicd.ITARGETSR + 32) == 0x010C_0101

    def test_beyond_the_last_there_is_nothing(self, bench: Bench) -> None:
        bench.gicd(Gicd.ITARGETSR + 288, 0xFFFF_FFFF)
        assert bench.gicd(Gicd.ITARGETSR + 288) == bench.gicd(Gicd.IPRIORITYR + 288) == 0

    def test_all_targets_are_offered_it_and_one_takes_it(self, bench: Bench) -> None:
        """1.4.3, the 1-N model."""
        bench.gicd(Gicd.ITARGETSR + 40, 0b0110, width=Width.W8)
        bench.gic.set_spi_level(8, level=True)
        assert bench.pins == [False, True, True, False]
        assert bench.gicc(Gicc.IAR, cpu=2) == 40
        assert bench.pins == [False] * 4
        assert bench.gicc(Gicc.IAR, cpu=1) == SPURIOUS
        bench.gicc(Gicc.EOIR, 40, cpu=2)
        assert bench.pins == [False, True, True, False]
        bench.gic.set_spi_level(8, level=False)
        assert bench.pins == [False] * 4

    def test_an_interrupt_moves_with_its_target(self, bench: Bench) -> None:
        bench.gic.set_spi_level(0, level=True)
        assert bench.pins == [True, False, False, False]
        bench.gicd(Gicd.ITARGETSR + 32, 0b1000, width=Width.W8)
        assert bench.pins == [False, False, False, True]


class TestSgis:
    """4.3.15 to 4.3.17."""

    @pytest.mark.parametrize(
        ("to", "targets", "reached"), [(0, 0b1101, [0, 2, 3]), (1, 0b1111, [0, 2, 3]), (2, 0b1101, [1]), (3, 0b1111, [])]
    )
    def test_who_is_reached(self, bench: Bench, to: int, targets: int, reached: list[int]) -> None:
        bench.sgi(5, sender=1, targets=targets, to=to)
        assert [cpu for cpu in range(4) if bench.pins[cpu]] == reached
        assert [bench.gicc(Gicc.IAR, cpu=cpu) for cpu in reached] == [1 << 10 | 5] * len(reached)

    def test_one_is_taken_for_each_sender(self, bench: Bench) -> None:
        for sender in (3, 0, 2):
            bench.sgi(5, sender=sender, targets=0b0010)
        taken = []
        while (value := bench.gicc(Gicc.IAR, cpu=1)) != SPURIOUS:
            taken.append(value)
            assert not bench.pins[1], "active and pending: not signalled"
            bench.gicc(Gicc.EOIR, value, cpu=1)
        assert taken == [sender << 10 | 5 for sender in (0, 2, 3)]

    def test_pending_is_shown_and_changed_by_sender(self, bench: Bench) -> None:
        bench.sgi(6, sender=2, targets=1)
        assert bench.gicd(Gicd.CPENDSGIR + 4) == bench.gicd(Gicd.SPENDSGIR + 4) == 0b100 << 16
        bench.gicd(Gicd.SPENDSGIR + 6, 0b0011, width=Width.W8)
        bench.gicd(Gicd.CPENDSGIR + 4, 0b0101 << 16)
        assert bench.gicd(Gicd.SPENDSGIR + 4) == 0b010 << 16
        assert bench.gicc(Gicc.HPPIR) == 1 << 10 | 6
        bench.gicd(Gicd.CPENDSGIR + 6, 0xFF, width=Width.W8)
        assert not bench.pins[0]
        assert bench.gicd(Gicd.ISPENDR) == 0

    def test_a_sender_that_is_not_there_sends_nothing(self, bench: Bench) -> None:
        bench.gicd(Gicd.SPENDSGIR, 0xF0)
        assert bench.gicd(Gicd.SPENDSGIR) == bench.gicd(Gicd.ISPENDR) == 0

    def test_the_pending_registers_do_not_reach_them(self, bench: Bench) -> None:
        """4.3.7 and 4.3.8: the bits of SGIs are read-only."""
        bench.gicd(Gicd.ISPENDR, 0xFFFF)
        assert not bench.pins[0]
        bench.sgi(4, sender=1, targets=1)
        bench.gicd(Gicd.ICPENDR, 0xFFFF)
        assert bench.gicd(Gicd.ISPENDR) == 1 << 4

    def test_each_vcpu_has_its_own(self, bench: Bench) -> None:
        bench.sgi(4, sender=1, targets=0b0100)
        assert [bench.gicd(Gicd.ISPENDR, cpu=cpu) for cpu in range(4)] == [0, 0, 1 << 4, 0]


class TestPrivate:
    def test_registers_are_banked(self, bench: Bench) -> None:
        bench.gicd(Gicd.ICENABLER, 1 << 27, cpu=1)
        bench.gicd(Gicd.IPRIORITYR + 27, 0x40, cpu=2, width=Width.W8)
        assert [bench.gicd(Gicd.ISENABLER, cpu=cpu) >> 27 & 1 for cpu in range(4)] == [1, 0, 1, 1]
        assert [bench.gicd(Gicd.IPRIORITYR + 27, cpu=cpu, width=Width.W8) for cpu in range(4)] == [0xA0, 0xA0, 0x40, 0xA0]

    def test_a_ppi_reaches_its_own_vcpu(self, bench: Bench) -> None:
        bench.gic.set_ppi_level(2, 27, level=True)
        assert bench.pins == [False, False, True, False]
        assert bench.gicc(Gicc.IAR, cpu=2) == 27
        assert bench.gicd(Gicd.ISACTIVER, cpu=2) == 1 << 27
        bench.gicd(Gicd.ICACTIVER, 1 << 27, cpu=2)
        assert bench.gicd(Gicd.ISACTIVER, cpu=2) == 0

    def test_sgis_are_edges_and_ppis_levels(self, bench: Bench) -> None:
        bench.gicd(Gicd.ICFGR, 0)
        bench.gicd(Gicd.ICFGR + 4, 0xFFFF_FFFF)
        assert (bench.gicd(Gicd.ICFGR), bench.gicd(Gicd.ICFGR + 4)) == (0xAAAA_AAAA, 0)


class TestGroups:
    """4.4.1: Group 0 is signalled as IRQ unless FIQEn; AckCtl lets GICC_IAR take Group 1."""

    @pytest.fixture
    def group1(self, bench: Bench) -> Bench:
        bench.gicc(Gicc.CTLR, Ctlr.GROUP0 | Ctlr.GROUP1)
        bench.gicd(Gicd.IGROUPR, 1 << 20)
        bench.gic.set_ppi_level(0, 20, level=True)
        return bench

    def test_group_1_is_not_for_iar(self, group1: Bench) -> None:
        assert group1.pins[0]
        assert (group1.gicc(Gicc.IAR), group1.gicc(Gicc.HPPIR)) == (OTHER_GROUP, OTHER_GROUP)
        assert (group1.gicc(Gicc.AHPPIR), group1.gicc(Gicc.AIAR)) == (20, 20)
        group1.gicc(Gicc.EOIR, 20)
        assert group1.gicc(Gicc.RPR) == 0xA0, "still running"
        group1.gicc(Gicc.AEOIR, 20)
        assert group1.gicc(Gicc.RPR) == IDLE

    def test_unless_ack_ctl_says_so(self, group1: Bench) -> None:
        group1.gicc(Gicc.CTLR, Ctlr.GROUP0 | Ctlr.GROUP1 | Ctlr.ACK_CTL)
        assert (group1.gicc(Gicc.HPPIR), group1.gicc(Gicc.IAR)) == (20, 20)
        group1.gicc(Gicc.EOIR, 20)
        assert group1.gicc(Gicc.RPR) == IDLE

    def test_group_0_is_not_for_aiar(self, bench: Bench) -> None:
        bench.gic.set_ppi_level(0, 20, level=True)
        assert (bench.gicc(Gicc.AIAR), bench.gicc(Gicc.AHPPIR), bench.gicc(Gicc.IAR)) == (SPURIOUS, SPURIOUS, 20)

    def test_fiq_en_makes_group_0_an_fiq(self, bench: Bench) -> None:
        bench.gicc(Gicc.CTLR, Ctlr.GROUP0 | Ctlr.FIQ_EN)
        bench.gic.set_ppi_level(0, 20, level=True)
        assert (bench.pins[0], bench.fiq_pins[0]) == (False, True)
        assert bench.gicc(Gicc.IAR) == 20

    def test_a_group_that_is_off_is_not_signalled(self, bench: Bench) -> None:
        bench.gic.set_ppi_level(0, 20, level=True)
        bench.gicc(Gicc.CTLR, 0)
        assert not bench.pins[0]
        bench.gicc(Gicc.CTLR, Ctlr.GROUP0)
        bench.gicd(Gicd.CTLR, 0)
        assert (bench.pins[0], bench.gicc(Gicc.IAR)) == (False, SPURIOUS)


class TestPriorities:
    def test_a_higher_priority_preempts_and_apr_shows_both(self, bench: Bench) -> None:
        bench.gicd(Gicd.IPRIORITYR + 21, 0x40, width=Width.W8)
        bench.gic.set_ppi_level(0, 20, level=True)
        assert bench.gicc(Gicc.IAR) == 20
        bench.gic.set_ppi_level(0, 21, level=True)
        assert bench.gicc(Gicc.IAR) == 21
        assert (bench.gicc(Gicc.RPR), bench.gicc(Gicc.APR), bench.gicc(Gicc.NSAPR)) == (0x40, 1 << 8 | 1 << 20, 0)
        bench.gicc(Gicc.EOIR, 21)
        assert bench.gicc(Gicc.RPR) == 0xA0

    def test_binary_points_have_their_least_values(self, bench: Bench) -> None:
        for register, least in ((Gicc.BPR, 2), (Gicc.ABPR, 3)):
            bench.gicc(register, 0)
            assert bench.gicc(register) == least

    def test_with_eoi_mode_dropping_and_deactivating_are_two_things(self, bench: Bench) -> None:
        bench.gicc(Gicc.CTLR, Ctlr.GROUP0 | Ctlr.EOI_MODE)
        bench.gic.set_ppi_level(0, 20, level=True)
        bench.gicc(Gicc.EOIR, bench.gicc(Gicc.IAR))
        assert (bench.gicc(Gicc.RPR), bench.gicd(Gicd.ISACTIVER)) == (IDLE, 1 << 20)
        bench.gicc(Gicc.DIR, 20)
        assert bench.gicd(Gicd.ISACTIVER) == 0

    def test_the_control_register_keeps_what_it_has(self, bench: Bench) -> None:
        bench.gicc(Gicc.CTLR, 0xFFFF_FFFF)
        assert bench.gicc(Gicc.CTLR) == Ctlr.GROUP0 | Ctlr.GROUP1 | Ctlr.ACK_CTL | Ctlr.FIQ_EN | Ctlr.CBPR | Ctlr.EOI_MODE


def test_a_reset_leaves_nothing_but_the_wires(bench: Bench) -> None:
    bench.gic.set_spi_level(3, level=True)
    bench.sgi(1, sender=0, targets=0b1111)
    bench.gic.reset()
    fresh = GicV2(4, lambda index, irq, fiq: None)
    fresh.set_spi_level(3, level=True)
    for cpu in range(4):
        fresh.accessor.index = bench.gic.accessor.index = cpu
        for offset in range(0, 0x1000, 4):
            assert bench.gic.distributor.read(offset, Width.W32) == fresh.distributor.read(offset, Width.W32), hex(offset)
        for offset in (Gicc.CTLR, Gicc.PMR, Gicc.BPR, Gicc.RPR, Gicc.HPPIR, Gicc.ABPR, Gicc.APR, Gicc.NSAPR):
            assert bench.gicc(offset, cpu=cpu) == fresh.region.read(offset, Width.W32), hex(offset)
    assert bench.pins == [False] * 4


def test_the_gic_is_told_who_asks() -> None:
    gic = GicV2(2, lambda index, irq, fiq: None)

    class Vcpu:
        def mmio_read(self, address: int, width: int) -> int:
            if address:
                raise ExternalAbort
            return gic.distributor.read(Gicd.ITARGETSR, Width.W32)

        def mmio_write(self, address: int, width: int, value: int) -> None:
            gic.distributor.write(Gicd.SGIR, Width.W32, 2 << 24)

        def hypercall(self, call: Hypercall) -> None: ...

        def tlb_flush_all(self) -> None: ...

        def count_tlb_flushes(self, made: int, handled: int, ipis: int) -> None: ...

    lock = DeviceLock()
    banked = [BankedTraps(Vcpu(), index, gic.accessor, lock) for index in range(2)]
    assert [traps.mmio_read(0, 4) for traps in (*banked, banked[0])] == [0x0101_0101, 0x0202_0202, 0x0101_0101]
    banked[1].mmio_write(0, 4, 0)
    assert [interface.sources[0] for interface in gic.interfaces] == [0, 0b10]
    with pytest.raises(ExternalAbort):
        banked[0].mmio_read(1, 4)


_ACCESSES = st.tuples(
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 0xFFF)
    | st.sampled_from([Gicd.CTLR, Gicd.SGIR, Gicc.CTLR, Gicc.IAR, Gicc.EOIR, Gicd.ITARGETSR + 32, Gicd.ISPENDR, Gicd.SPENDSGIR]),
    st.sampled_from(Width),
    st.integers(0, 2**64 - 1),
)


@given(st.lists(_ACCESSES, max_size=40), st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=10))
def test_whatever_a_guest_does_no_two_vcpus_hold_one_spi(
    accesses: list[tuple[bool, int, int, Width, int]], wires: list[tuple[int, bool]]
) -> None:
    bench = Bench()
    for number, level in wires:
        bench.gic.set_spi_level(number, level)
    for to_gicd, cpu, offset, width, value in accesses:
        device = bench.gic.distributor if to_gicd else bench.gic.region
        bench.gic.accessor.index = cpu
        device.write(offset, width, value & (1 << 8 * width) - 1)
        device.read(offset & -width, width)
    for interface in bench.gic.interfaces:
        for intid, sources in enumerate(interface.sources):
            assert bool(sources) == bool(bench.gic._banks[bench.gic.interfaces.index(interface)].latch >> intid & 1)
    taken = [bench.gicc(Gicc.IAR, cpu=cpu) & 0x3FF for cpu in range(4) for _ in range(4)]
    shared = [intid for intid in taken if 32 <= intid < 1020]
    assert len(shared) == len(set(shared))
