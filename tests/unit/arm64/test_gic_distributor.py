"""The distributor's registers (IHI 0069 12.9) and the life of shared interrupts."""

from __future__ import annotations

import pytest

from avmm.plugin import Width
from tests.unit.arm64.gic_bench import (
    ICACTIVER,
    ICENABLER,
    ICFGR,
    ICPENDR,
    IGROUPR,
    IPRIORITYR,
    IROUTER,
    ISACTIVER,
    ISENABLER,
    ISPENDR,
    GicBench,
)

SPURIOUS = 1023


@pytest.fixture
def bench() -> GicBench:
    return GicBench()


class TestIdentification:
    def test_ctlr_has_affinity_routing_and_one_security_state(self) -> None:
        bench = GicBench(ready=False)
        assert bench.read_gicd(0) == 0x50
        bench.gicd(0, 0xFFFF_FFFF)
        assert bench.read_gicd(0) == 0x53, "DS and ARE cannot be changed, RWP is never set"
        bench.gicd(0, 0)
        assert bench.read_gicd(0) == 0x50

    def test_typer(self, bench: GicBench) -> None:
        typer = bench.read_gicd(4)
        assert typer & 0x1F == 8, "32 * (8 + 1) INTIDs"
        assert typer >> 19 & 0x1F == 9, "10-bit INTIDs"
        assert typer >> 25 & 1, "no 1-of-N"
        absent = {17: "LPIs", 10: "Security Extensions", 16: "MBIs", 24: "Aff3", 26: "range selector", 8: "extended SPIs"}
        assert [what for bit, what in absent.items() if typer >> bit & 1] == []

    def test_a_gicv3(self, bench: GicBench) -> None:
        assert bench.read_gicd(0xFFE8) >> 4 & 0xF == 3
        assert bench.read_gicd(8) & 0xFFF == 0x43B


@pytest.mark.parametrize(("setter", "clearer"), [(ISENABLER, ICENABLER), (ISPENDR, ICPENDR), (ISACTIVER, ICACTIVER)])
class TestSetClear:
    """Writing one sets or clears, writing zero does nothing, and both registers read the state."""

    def test_set_and_clear(self, bench: GicBench, setter: int, clearer: int) -> None:
        bench.gicd(setter + 4, 0b1101)
        bench.gicd(setter + 4, 0b0010)
        assert bench.read_gicd(setter + 4) == bench.read_gicd(clearer + 4) == 0b1111
        bench.gicd(clearer + 4, 0b0101)
        assert bench.read_gicd(setter + 4) == 0b1010
        assert bench.read_gicd(setter + 8) == 0, "no other word"

    def test_private_interrupts_are_not_here(self, bench: GicBench, setter: int, clearer: int) -> None:
        bench.gicd(setter, 0xFFFF_FFFF)
        assert bench.read_gicd(setter) == 0
        assert bench.read_gicr(0, setter) == 0

    def test_beyond_the_last_interrupt(self, bench: GicBench, setter: int, clearer: int) -> None:
        bench.gicd(setter + 36, 0xFFFF_FFFF)
        assert bench.read_gicd(setter + 36) == 0
        bench.gicd(setter + 32, 0xFFFF_FFFF)
        assert bench.read_gicd(setter + 32) == 0xFFFF_FFFF, "INTIDs 256 to 287"

    def test_a_64_bit_access_is_two(self, bench: GicBench, setter: int, clearer: int) -> None:
        bench.gicd(setter + 8, 0x0000_0002_0000_0001, Width.W64)
        assert (bench.read_gicd(setter + 8), bench.read_gicd(setter + 12)) == (1, 2)
        assert bench.read_gicd(setter + 8, Width.W64) == 0x0000_0002_0000_0001


class TestConfiguration:
    def test_priority_by_byte_and_word(self, bench: GicBench) -> None:
        bench.gicd(IPRIORITYR + 41, 0xFF, Width.W8)
        assert bench.read_gicd(IPRIORITYR + 40) == 0x0000_F800, "five bits"
        bench.gicd(IPRIORITYR + 40, 0x10_20_30_40)
        assert [bench.read_gicd(IPRIORITYR + n, Width.W8) for n in range(40, 44)] == [0x40, 0x30, 0x20, 0x10]
        assert bench.read_gicd(IPRIORITYR + 42, Width.W16) == 0x1020

    def test_priorities_of_private_interrupts_are_not_here(self, bench: GicBench) -> None:
        bench.gicd(IPRIORITYR + 31, 0xF8, Width.W8)
        assert bench.read_gicd(IPRIORITYR + 28) == 0

    def test_group(self, bench: GicBench) -> None:
        bench.gicd(IGROUPR + 4, 0x5555_AAAA)
        assert bench.read_gicd(IGROUPR + 4) == 0x5555_AAAA
        bench.gicd(IGROUPR + 4, 0)
        assert bench.read_gicd(IGROUPR + 4) == 0

    def test_icfgr_has_one_bit_that_counts(self, bench: GicBench) -> None:
        bench.gicd(ICFGR + 12, 0xFFFF_FFFF)
        assert bench.read_gicd(ICFGR + 12) == 0xAAAA_AAAA
        bench.gicd(ICFGR + 12, 0x0000_0002)
        assert bench.read_gicd(ICFGR + 12) == 0x0000_0002

    def test_narrow_writes_elsewhere_are_ignored(self, bench: GicBench) -> None:
        bench.gicd(ISENABLER + 4, 0xFF, Width.W8)
        bench.gicd(ISENABLER + 5, 0xFFFF_FFFF)
        assert bench.read_gicd(ISENABLER + 4) == 0


class TestLevelSensitive:
    """4.1: pending as long as the wire is high; 12.9 ISPENDR, ICPENDR."""

    def test_follows_the_wire(self, bench: GicBench) -> None:
        bench.enable_spi(40)
        bench.spi(40, level=True)
        assert bench.irq()
        bench.spi(40, level=False)
        assert not bench.irq()

    def test_is_pending_again_after_its_end(self, bench: GicBench) -> None:
        bench.enable_spi(40)
        bench.spi(40, level=True)
        cpu = bench.cpu()
        assert cpu.read_iar1() == 40
        assert cpu.read_iar1() == SPURIOUS
        assert bench.read_gicd(ISPENDR + 4) == bench.read_gicd(ISACTIVER + 4) == 1 << 8, "active and pending"
        cpu.write_eoir1(40)
        assert bench.irq()
        bench.spi(40, level=False)
        assert not bench.irq()

    def test_clearing_pending_does_not_lower_the_wire(self, bench: GicBench) -> None:
        bench.enable_spi(40)
        bench.spi(40, level=True)
        bench.gicd(ICPENDR + 4, 1 << 8)
        assert bench.read_gicd(ISPENDR + 4) == 1 << 8

    def test_made_pending_by_software_stays_until_acknowledged(self, bench: GicBench) -> None:
        bench.enable_spi(40)
        bench.gicd(ISPENDR + 4, 1 << 8)
        bench.spi(40, level=True)
        bench.spi(40, level=False)
        cpu = bench.cpu()
        assert cpu.read_iar1() == 40
        cpu.write_eoir1(40)
        assert not bench.irq()


class TestEdgeTriggered:
    def test_an_edge_is_latched(self, bench: GicBench) -> None:
        bench.enable_spi(40, edge=True)
        bench.spi(40, level=True)
        bench.spi(40, level=False)
        cpu = bench.cpu()
        assert cpu.read_iar1() == 40
        cpu.write_eoir1(40)
        assert not bench.irq()

    def test_a_wire_that_stays_high_is_one_edge(self, bench: GicBench) -> None:
        bench.enable_spi(40, edge=True)
        bench.spi(40, level=True)
        bench.cpu().write_eoir1(bench.cpu().read_iar1())
        bench.spi(40, level=True)
        assert not bench.irq()

    def test_an_edge_while_active_pends_again(self, bench: GicBench) -> None:
        bench.enable_spi(40, edge=True)
        bench.spi(40, level=True)
        bench.cpu().read_iar1()
        bench.spi(40, level=False)
        bench.spi(40, level=True)
        assert not bench.irq()
        bench.cpu().write_eoir1(40)
        assert bench.irq()

    def test_clearing_pending_forgets_the_edge(self, bench: GicBench) -> None:
        bench.enable_spi(40, edge=True)
        bench.spi(40, level=True)
        bench.gicd(ICPENDR + 4, 1 << 8)
        assert not bench.irq()


class TestRouting:
    """12.9 IROUTER; 3.3 affinity routing."""

    def test_to_the_vcpu_of_that_affinity(self) -> None:
        bench = GicBench(affinities=[0, 1, 0x0100, 0x03_0405])
        for index, router in enumerate((0, 1, 0x100, 0x03_0405)):
            bench.enable_spi(40 + index, target=router)
            bench.spi(40 + index, level=True)
            assert [cpu.read_hppir1() for cpu in bench.gic.interfaces].count(40 + index) == 1
            assert bench.cpu(index).read_iar1() == 40 + index
            assert bench.read_gicd(IROUTER + 8 * (40 + index), Width.W64) == router

    def test_re_routing_a_pending_interrupt_moves_it(self, bench: GicBench) -> None:
        bench.enable_spi(40)
        bench.spi(40, level=True)
        assert (bench.irq(0), bench.irq(1)) == (True, False)
        bench.gicd(IROUTER + 8 * 40, 1)
        assert (bench.irq(0), bench.irq(1)) == (False, True)

    def test_an_affinity_nobody_has_keeps_it_pending(self, bench: GicBench) -> None:
        bench.enable_spi(40, target=0x77)
        bench.spi(40, level=True)
        assert not any((bench.irq(0), bench.irq(1)))
        assert bench.read_gicd(ISPENDR + 4) == 1 << 8
        bench.gicd(IROUTER + 8 * 40, 1)
        assert bench.irq(1)

    def test_only_the_affinity_is_kept(self, bench: GicBench) -> None:
        """Aff3 is RES0 with GICD_TYPER.A3V = 0, Interrupt_Routing_Mode with No1N = 1."""
        bench.gicd(IROUTER + 8 * 40, 0xFFFF_FFFF_FFFF_FFFF, Width.W64)
        assert bench.read_gicd(IROUTER + 8 * 40, Width.W64) == 0x00FF_FFFF
        bench.gicd(IROUTER + 8 * 40, 0x8000_0001)
        assert bench.read_gicd(IROUTER + 8 * 40, Width.W64) == 1
        bench.gicd(IROUTER + 8 * 40 + 4, 0xFF)
        assert bench.read_gicd(IROUTER + 8 * 40, Width.W64) == 1, "the halves are apart"

    def test_private_interrupts_have_no_router(self, bench: GicBench) -> None:
        bench.gicd(IROUTER + 8 * 31, 1, Width.W64)
        assert bench.read_gicd(IROUTER + 8 * 31, Width.W64) == 0


@pytest.mark.parametrize("number", [-1, 256, 1 << 40])
def test_a_wire_that_does_not_exist_is_ignored(bench: GicBench, number: int) -> None:
    bench.gic.set_spi_level(number, level=True)
    assert all(bench.read_gicd(ISPENDR + 4 * word) == 0 for word in range(1, 9))


def test_reset_is_power_on_with_the_wires_as_they_are(bench: GicBench) -> None:
    bench.enable_spi(40, edge=True, target=1)
    bench.spi(41, level=True)
    bench.gic.reset()
    assert bench.read_gicd(0) == 0x50
    for offset in (IGROUPR, ISENABLER, ISACTIVER, ICFGR, IPRIORITYR):
        assert bench.read_gicd(offset + 4 * 10 if offset == IPRIORITYR else offset + 4) == 0
    assert bench.read_gicd(IROUTER + 8 * 40) == 0
    assert bench.read_gicd(ISPENDR + 4) == 1 << 9, "its wire is high"
    assert not any(irq or fiq for irq, fiq in bench.pins.values())
