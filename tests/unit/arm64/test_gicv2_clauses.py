"""IHI 0048B clause by clause: reserved and read-only registers, both groups of the CPU interface, SGIs by sender, banking."""

from __future__ import annotations

import pytest

from avmm.plugin import Width
from tests.unit.arm64.gicv2_bench import IDLE, OTHER_GROUP, SPURIOUS, Bench, Ctlr, Gicc, Gicd

BOTH = Ctlr.GROUP0 | Ctlr.GROUP1
LOW, HIGH = 20, 21
"""Two PPIs; HIGH has the higher priority."""


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.gicd(Gicd.IPRIORITYR + HIGH, 0x40, width=Width.W8)
    return bench


def wires(bench: Bench, *intids: int, level: bool = True, cpu: int = 0) -> None:
    for intid in intids:
        bench.gic.set_ppi_level(cpu, intid, level=level)


class TestRegisters:
    @pytest.mark.parametrize("offset", [Gicd.TYPER, Gicd.IIDR, Gicd.PIDR2])
    def test_the_distributors_identification_cannot_be_written(self, bench: Bench, offset: int) -> None:
        before = bench.gicd(offset)
        bench.gicd(offset, ~before & 0xFFFF_FFFF)
        assert bench.gicd(offset) == before != 0

    @pytest.mark.parametrize("offset", [Gicc.IAR, Gicc.RPR, Gicc.HPPIR, Gicc.AIAR, Gicc.AHPPIR, Gicc.IIDR])
    def test_the_cpu_interfaces_read_only_registers(self, bench: Bench, offset: int) -> None:
        before = bench.gicc(offset)
        bench.gicc(offset, 0)
        assert bench.gicc(offset) == before != 0

    @pytest.mark.parametrize("offset", [0x00C, 0x010, 0x084 + 0x20, 0xD00, 0xE00, Gicd.SGIR, 0xF04])
    def test_what_the_distributor_does_not_have_reads_zero(self, bench: Bench, offset: int) -> None:
        """Among them GICD_NSACRn, which there is with Security Extensions only, and GICD_SGIR, which is write-only."""
        bench.gicd(offset, 3 << 24)
        assert bench.gicd(offset) == 0
        assert bench.pins == [False] * 4

    @pytest.mark.parametrize("offset", [0x02C, Gicc.EOIR, Gicc.AEOIR, Gicc.APR + 4, Gicc.NSAPR + 4, 0x100, Gicc.DIR, 0x1004])
    def test_what_the_cpu_interface_does_not_have_reads_zero(self, bench: Bench, offset: int) -> None:
        bench.gicc(offset, 0xFFFF_FFFF)
        assert bench.gicc(offset) == 0

    @pytest.mark.parametrize("width", [Width.W8, Width.W16])
    @pytest.mark.parametrize("offset", [Gicd.CTLR, Gicd.IGROUPR, Gicd.ISENABLER + 4, Gicd.ISPENDR + 4, Gicd.ICFGR + 8, Gicd.SGIR])
    def test_narrow_writes_are_for_bytes_that_are_fields(self, bench: Bench, offset: int, width: Width) -> None:
        """4.1.4: byte accesses reach IPRIORITYR, ITARGETSR, CPENDSGIR and SPENDSGIR alone."""
        before = bench.gicd(offset)
        bench.gicd(offset, 0x55, width=width)
        assert bench.gicd(offset) == before
        assert bench.pins == [False] * 4

    @pytest.mark.parametrize(
        "offset",
        [Gicd.IGROUPR, Gicd.ISENABLER, Gicd.ISPENDR, Gicd.ISACTIVER, Gicd.IPRIORITYR + 16, Gicd.IPRIORITYR, Gicd.SPENDSGIR],
        ids=hex,
    )
    def test_registers_of_private_interrupts_are_banked(self, bench: Bench, offset: int) -> None:
        for cpu in range(4):
            bench.gicd(Gicd.ICENABLER, 0xFFFF_FFFF, cpu=cpu)
        before = [bench.gicd(offset, cpu=cpu) for cpu in range(4)]
        bench.gicd(offset, 0x0808_0808, cpu=2)
        after = [bench.gicd(offset, cpu=cpu) for cpu in range(4)]
        assert [cpu for cpu in range(4) if before[cpu] != after[cpu]] == [2]

    @pytest.mark.parametrize(
        ("setter", "clearer"), [(Gicd.ISENABLER, Gicd.ICENABLER), (Gicd.ISPENDR, Gicd.ICPENDR), (Gicd.ISACTIVER, Gicd.ICACTIVER)]
    )
    def test_ones_set_and_clear(self, bench: Bench, setter: int, clearer: int) -> None:
        bench.gicd(clearer + 4, 0xFFFF_FFFF)
        bench.gicd(setter + 4, 0b1101)
        bench.gicd(setter + 4, 0b0010)
        assert bench.gicd(setter + 4) == bench.gicd(clearer + 4) == 0b1111
        bench.gicd(clearer + 4, 0b0101)
        assert bench.gicd(setter + 4) == 0b1010

    def test_cpu_interfaces_are_each_vcpus_own(self, bench: Bench) -> None:
        for offset, value in (
            (Gicc.PMR, 0x80),
            (Gicc.BPR, 5),
            (Gicc.ABPR, 6),
            (Gicc.APR, 1 << 9),
            (Gicc.NSAPR, 1 << 10),
            (Gicc.CTLR, BOTH),
        ):
            bench.gicc(offset, value, cpu=3)
            assert bench.gicc(offset, cpu=3) == value
            assert bench.gicc(offset, cpu=2) != value


class TestGroups:
    """4.4.1 to 4.4.12. LOW is in Group 1, HIGH in Group 0, or the other way about."""

    @pytest.mark.parametrize("ack_ctl", [0, Ctlr.ACK_CTL])
    @pytest.mark.parametrize("fiq_en", [0, Ctlr.FIQ_EN])
    @pytest.mark.parametrize("group1", [False, True])
    def test_what_each_register_says_of_one_interrupt(self, bench: Bench, group1: bool, fiq_en: int, ack_ctl: int) -> None:
        bench.gicc(Gicc.CTLR, BOTH | fiq_en | ack_ctl)
        bench.gicd(Gicd.IGROUPR, group1 << LOW)
        wires(bench, LOW)
        as_fiq = bool(fiq_en) and not group1
        assert (bench.pins[0], bench.fiq_pins[0]) == (not as_fiq, as_fiq)
        mine = LOW if not group1 or ack_ctl else OTHER_GROUP
        assert (bench.gicc(Gicc.HPPIR), bench.gicc(Gicc.AHPPIR)) == (mine, LOW if group1 else SPURIOUS)
        if group1:
            assert bench.gicc(Gicc.IAR) == mine
            assert bench.gicc(Gicc.AIAR) == (SPURIOUS if ack_ctl else LOW), "taken by the first"
        else:
            assert (bench.gicc(Gicc.AIAR), bench.gicc(Gicc.IAR)) == (SPURIOUS, LOW)
        assert (bench.gicc(Gicc.APR), bench.gicc(Gicc.NSAPR)) == ((0, 1 << 20) if group1 else (1 << 20, 0))

    @pytest.mark.parametrize(("ack_ctl", "register"), [(0, Gicc.AEOIR), (Ctlr.ACK_CTL, Gicc.AEOIR), (Ctlr.ACK_CTL, Gicc.EOIR)])
    def test_a_group_1_interrupt_ends_by(self, bench: Bench, ack_ctl: int, register: int) -> None:
        bench.gicc(Gicc.CTLR, BOTH | ack_ctl)
        bench.gicd(Gicd.IGROUPR, 1 << LOW)
        wires(bench, LOW)
        assert bench.gicc(Gicc.AIAR) == LOW
        bench.gicc(register, LOW)
        assert (bench.gicc(Gicc.RPR), bench.gicd(Gicd.ISACTIVER)) == (IDLE, 0)

    def test_the_alias_does_not_end_group_0(self, bench: Bench) -> None:
        wires(bench, LOW)
        assert bench.gicc(Gicc.IAR) == LOW
        bench.gicc(Gicc.AEOIR, LOW)
        assert bench.gicc(Gicc.RPR) == 0xA0

    def test_an_fiq_preempts_an_irq_and_both_end_in_turn(self, bench: Bench) -> None:
        bench.gicc(Gicc.CTLR, BOTH | Ctlr.FIQ_EN)
        bench.gicd(Gicd.IGROUPR, 1 << LOW)
        wires(bench, LOW)
        assert bench.gicc(Gicc.AIAR) == LOW
        wires(bench, HIGH)
        assert (bench.pins[0], bench.fiq_pins[0]) == (False, True)
        assert bench.gicc(Gicc.IAR) == HIGH
        assert (bench.gicc(Gicc.APR), bench.gicc(Gicc.NSAPR), bench.gicc(Gicc.RPR)) == (1 << 8, 1 << 20, 0x40)
        wires(bench, LOW, HIGH, level=False)
        bench.gicc(Gicc.EOIR, HIGH)
        assert bench.gicc(Gicc.RPR) == 0xA0
        bench.gicc(Gicc.AEOIR, LOW)
        assert (bench.gicc(Gicc.RPR), bench.gicd(Gicd.ISACTIVER)) == (IDLE, 0)

    def test_with_ack_ctl_eoir_ends_whichever_group_runs(self, bench: Bench) -> None:
        bench.gicc(Gicc.CTLR, BOTH | Ctlr.ACK_CTL)
        bench.gicd(Gicd.IGROUPR, 1 << HIGH)
        wires(bench, LOW)
        assert bench.gicc(Gicc.IAR) == LOW
        wires(bench, HIGH)
        assert bench.gicc(Gicc.IAR) == HIGH
        bench.gicc(Gicc.EOIR, HIGH)
        assert (bench.gicc(Gicc.NSAPR), bench.gicc(Gicc.APR)) == (0, 1 << 20)
        bench.gicc(Gicc.EOIR, LOW)
        assert bench.gicc(Gicc.RPR) == IDLE

    @pytest.mark.parametrize("register", [Gicc.HPPIR, Gicc.IAR, Gicc.AIAR, Gicc.AHPPIR])
    @pytest.mark.parametrize("group1", [False, True])
    def test_of_a_group_that_is_off_nothing_is_said(self, bench: Bench, group1: bool, register: int) -> None:
        bench.gicd(Gicd.IGROUPR, group1 << LOW)
        bench.gicc(Gicc.CTLR, Ctlr.ACK_CTL | (Ctlr.GROUP0 if group1 else Ctlr.GROUP1))
        wires(bench, LOW)
        assert bench.gicc(register) == SPURIOUS
        assert bench.gicd(Gicd.ISPENDR) == 1 << LOW

    def test_a_masked_interrupt_is_shown_and_not_taken(self, bench: Bench) -> None:
        bench.gicc(Gicc.PMR, 0xA0)
        wires(bench, LOW)
        assert (bench.pins[0], bench.gicc(Gicc.HPPIR), bench.gicc(Gicc.IAR)) == (False, LOW, SPURIOUS)

    @pytest.mark.parametrize(("ctlr", "field"), [(BOTH, 0xE0), (BOTH | Ctlr.CBPR, 0xF0)])
    def test_group_1_is_grouped_by_abpr_unless_cbpr_says_bpr(self, bench: Bench, ctlr: int, field: int) -> None:
        bench.gicc(Gicc.BPR, 3)
        bench.gicc(Gicc.ABPR, 5)
        bench.gicc(Gicc.CTLR, ctlr)
        bench.gicd(Gicd.IGROUPR, 1 << LOW)
        bench.gicd(Gicd.IPRIORITYR + LOW, 0xB8, width=Width.W8)
        wires(bench, LOW)
        bench.gicc(Gicc.AIAR)
        assert bench.gicc(Gicc.RPR) == 0xB8 & field


class TestEnd:
    def test_with_eoimode_dir_deactivates_and_eoir_does_not(self, bench: Bench) -> None:
        bench.gicc(Gicc.CTLR, Ctlr.GROUP0 | Ctlr.EOI_MODE)
        bench.gicd(Gicd.ITARGETSR + 32, 0b0010, width=Width.W8)
        bench.gic.set_spi_level(0, level=True)
        bench.gicc(Gicc.CTLR, Ctlr.GROUP0 | Ctlr.EOI_MODE, cpu=1)
        assert bench.gicc(Gicc.IAR, cpu=1) == 32
        bench.gicc(Gicc.EOIR, 32, cpu=1)
        assert bench.pins == [False] * 4
        bench.gicc(Gicc.DIR, 32, cpu=0)
        assert bench.pins == [False, True, False, False], "by any vCPU; the wire is high still"

    def test_without_eoimode_dir_does_nothing(self, bench: Bench) -> None:
        wires(bench, LOW)
        bench.gicc(Gicc.IAR)
        bench.gicc(Gicc.DIR, LOW)
        assert bench.gicd(Gicd.ISACTIVER) == 1 << LOW

    @pytest.mark.parametrize("intid", [1020, 1021, 1022, 1023])
    def test_special_intids_end_nothing(self, bench: Bench, intid: int) -> None:
        wires(bench, LOW)
        bench.gicc(Gicc.IAR)
        bench.gicc(Gicc.EOIR, intid)
        assert (bench.gicc(Gicc.RPR), bench.gicd(Gicd.ISACTIVER)) == (0xA0, 1 << LOW)

    @pytest.mark.parametrize("sender", range(4))
    def test_the_sender_written_to_eoir_is_not_part_of_the_number(self, bench: Bench, sender: int) -> None:
        bench.sgi(3, sender=sender, targets=1)
        assert bench.gicc(Gicc.IAR) == sender << 10 | 3
        bench.gicc(Gicc.EOIR, sender << 10 | 3)
        assert (bench.gicc(Gicc.RPR), bench.gicd(Gicd.ISACTIVER)) == (IDLE, 0)


class TestSgis:
    @pytest.mark.parametrize("register", [Gicc.IAR, Gicc.HPPIR])
    def test_the_sender_is_told_in_both(self, bench: Bench, register: int) -> None:
        bench.sgi(7, sender=2, targets=0b0001)
        assert bench.gicc(register) == 2 << 10 | 7

    def test_the_aliases_tell_it_too(self, bench: Bench) -> None:
        bench.gicc(Gicc.CTLR, BOTH)
        bench.gicd(Gicd.IGROUPR, 1 << 7)
        bench.sgi(7, sender=3, targets=0b0001)
        assert (bench.gicc(Gicc.AHPPIR), bench.gicc(Gicc.AIAR)) == (3 << 10 | 7, 3 << 10 | 7)

    @pytest.mark.parametrize("reserved", [1 << 4, 0x7FF << 4, 1 << 15, 0x3F << 26])
    def test_reserved_bits_of_sgir_and_nsatt_change_nothing(self, bench: Bench, reserved: int) -> None:
        bench.gicd(Gicd.SGIR, reserved | 0b0010 << 16 | 5, cpu=0)
        assert [bench.gicd(Gicd.ISPENDR, cpu=cpu) for cpu in range(4)] == [0, 1 << 5, 0, 0]

    def test_one_sent_again_before_it_is_taken_is_one(self, bench: Bench) -> None:
        bench.sgi(5, sender=1, targets=1)
        bench.sgi(5, sender=1, targets=1)
        assert bench.gicc(Gicc.IAR) == 1 << 10 | 5
        bench.gicc(Gicc.EOIR, 1 << 10 | 5)
        assert bench.gicc(Gicc.IAR) == SPURIOUS

    def test_one_sent_again_while_active_is_pending_then(self, bench: Bench) -> None:
        bench.sgi(5, sender=1, targets=1)
        bench.gicc(Gicc.IAR)
        bench.sgi(5, sender=1, targets=1)
        assert (bench.gicd(Gicd.ISPENDR), bench.gicd(Gicd.ISACTIVER), bench.pins[0]) == (1 << 5, 1 << 5, False)
        bench.gicc(Gicc.EOIR, 1 << 10 | 5)
        assert bench.gicc(Gicc.IAR) == 1 << 10 | 5

    def test_a_halfword_of_the_pending_registers_is_not_there_to_be_written(self, bench: Bench) -> None:
        bench.gicd(Gicd.SPENDSGIR, 0x0101, width=Width.W16)
        assert bench.gicd(Gicd.SPENDSGIR) == bench.gicd(Gicd.CPENDSGIR) == 0

    def test_a_disabled_sgi_waits(self, bench: Bench) -> None:
        bench.gicd(Gicd.ICENABLER, 1 << 5)
        bench.sgi(5, sender=1, targets=1)
        assert not bench.pins[0]
        bench.gicd(Gicd.ISENABLER, 1 << 5)
        assert bench.gicc(Gicc.IAR) == 1 << 10 | 5


def test_an_spi_without_targets_waits_in_the_distributor(bench: Bench) -> None:
    bench.gicd(Gicd.ITARGETSR + 32, 0, width=Width.W8)
    bench.gic.set_spi_level(0, level=True)
    assert (bench.pins, bench.gicd(Gicd.ISPENDR + 4)) == ([False] * 4, 1)
    bench.gicd(Gicd.ITARGETSR + 32, 0b0100, width=Width.W8)
    assert bench.pins == [False, False, True, False]


def test_an_spi_goes_to_the_target_that_can_take_it(bench: Bench) -> None:
    """1.4.3: one target has its group off, one runs at a higher priority, one masks it; the fourth takes it."""
    bench.gicc(Gicc.CTLR, 0, cpu=0)
    wires(bench, HIGH, cpu=1)
    bench.gicd(Gicd.IPRIORITYR + HIGH, 0x40, cpu=1, width=Width.W8)
    assert bench.gicc(Gicc.IAR, cpu=1) == HIGH
    bench.gicc(Gicc.PMR, 0x80, cpu=2)
    bench.gicd(Gicd.ITARGETSR + 32, 0b1111, width=Width.W8)
    bench.gic.set_spi_level(0, level=True)
    assert bench.pins == [False, False, False, True]
    assert bench.gicc(Gicc.IAR, cpu=3) == 32
