"""The redistributors' registers (IHI 0069 12.10, 12.11), private interrupts, and SGIs (12.2, ICC_SGI1R_EL1)."""

from __future__ import annotations

import pytest

from avmm.plugin import Width
from tests.unit.arm64.gic_bench import FRAME, ICENABLER, ICFGR, IGROUPR, IPRIORITYR, ISENABLER, ISPENDR, GicBench

WAKER, TYPER = 0x14, 0x08


@pytest.fixture
def bench() -> GicBench:
    return GicBench()


def rd(bench: GicBench, index: int, offset: int, width: Width = Width.W32) -> int:
    return bench.gic.region.read(index * FRAME + offset, width)


class TestFrames:
    def test_typer_has_affinity_number_and_last(self) -> None:
        bench = GicBench(affinities=[0, 0x0102_0304])
        assert rd(bench, 0, TYPER, Width.W64) == 0
        assert rd(bench, 1, TYPER, Width.W64) == 0x0102_0304 << 32 | 1 << 8 | 1 << 4
        assert rd(bench, 1, TYPER + 4) == 0x0102_0304

    def test_a_gicv3(self, bench: GicBench) -> None:
        assert rd(bench, 1, 0xFFE8) >> 4 & 0xF == 3
        assert rd(bench, 1, 4) & 0xFFF == 0x43B

    def test_waker_wakes_at_once(self, bench: GicBench) -> None:
        assert rd(bench, 0, WAKER) == 0b110
        bench.gic.region.write(WAKER, Width.W32, 0)
        assert rd(bench, 0, WAKER) == 0
        assert rd(bench, 1, WAKER) == 0b110, "each has its own"
        bench.gic.region.write(WAKER, Width.W32, 0b010)
        assert rd(bench, 0, WAKER) == 0b110

    @pytest.mark.parametrize("offset", [0x0000, 0x0070, 0x0078, 0x0040, 0x00A0, 0x00B0, 0x00C0])
    def test_no_lpis(self, bench: GicBench, offset: int) -> None:
        bench.gic.region.write(offset, Width.W64, (1 << 64) - 1)
        assert rd(bench, 0, offset, Width.W64) & 0xFFFF_FFFF == 0

    def test_the_region_ends_with_the_last_vcpu(self, bench: GicBench) -> None:
        assert bench.gic.region.size == 2 * FRAME


class TestPrivate:
    def test_each_vcpu_has_its_own(self, bench: GicBench) -> None:
        bench.gicr(1, ISENABLER, 1 << 20)
        bench.gicr(1, IPRIORITYR + 20, 0x48, Width.W8)
        assert (bench.read_gicr(0, ISENABLER), bench.read_gicr(1, ISENABLER)) == (0, 1 << 20)
        assert bench.read_gicr(1, IPRIORITYR + 20, Width.W8) == 0x48

    def test_configuration_is_fixed(self, bench: GicBench) -> None:
        bench.gicr(0, ICFGR, 0)
        bench.gicr(0, ICFGR + 4, 0xFFFF_FFFF)
        assert bench.read_gicr(0, ICFGR) == 0xAAAA_AAAA, "SGIs are edge-triggered"
        assert bench.read_gicr(0, ICFGR + 4) == 0, "PPIs are level-sensitive"

    def test_nothing_beyond_intid_31(self, bench: GicBench) -> None:
        bench.gicr(0, ISENABLER + 4, 0xFFFF_FFFF)
        bench.gicr(0, IPRIORITYR + 32, 0xFFFF_FFFF)
        assert bench.read_gicr(0, ISENABLER + 4) == bench.read_gicr(0, IPRIORITYR + 32) == 0

    def test_a_ppi_follows_its_wire(self, bench: GicBench) -> None:
        bench.enable_private(1, 27)
        bench.gic.set_ppi_level(1, 27, level=True)
        assert (bench.irq(0), bench.irq(1)) == (False, True)
        assert bench.cpu(1).read_iar1() == 27
        bench.cpu(1).write_eoir1(27)
        assert bench.irq(1)
        bench.gic.set_ppi_level(1, 27, level=False)
        assert not bench.irq(1)

    def test_a_ppi_is_pending_though_disabled(self, bench: GicBench) -> None:
        bench.gicr(0, ICENABLER, 1 << 27)
        bench.gic.set_ppi_level(0, 27, level=True)
        assert bench.read_gicr(0, ISPENDR) == 1 << 27
        assert not bench.irq(0)


class TestSgi:
    def send(self, bench: GicBench, value: int, *, sender: int = 0, group1: bool = True) -> list[int]:
        """Send; the vCPUs on which SGI 5 is pending then."""
        bench.gic.send_sgi(sender, value | 5 << 24, group1=group1)
        return [index for index in range(len(bench.gic.interfaces)) if bench.read_gicr(index, ISPENDR) & 1 << 5]

    def test_to_a_list_of_targets(self) -> None:
        bench = GicBench(affinities=[0, 1, 2, 3])
        assert self.send(bench, 0b1010) == [1, 3]

    def test_to_oneself(self, bench: GicBench) -> None:
        assert self.send(bench, 0b01) == [0]

    def test_to_a_cluster(self) -> None:
        bench = GicBench(affinities=[0x0, 0x100, 0x101, 0x1_0000, 0x0100_0000])
        assert self.send(bench, 1 << 16 | 0b10) == [2]
        assert self.send(bench, 1 << 32 | 0b01) == [2, 3]
        assert self.send(bench, 1 << 48 | 0b01) == [2, 3, 4]

    def test_to_all_others(self) -> None:
        bench = GicBench(affinities=[0, 1, 2])
        assert self.send(bench, 1 << 40, sender=1) == [0, 2]

    def test_to_nobody(self, bench: GicBench) -> None:
        assert self.send(bench, 0xFFFC) == []
        assert self.send(bench, 7 << 16 | 0xFFFF) == []
        assert self.send(bench, 1 << 48 | 0xFFFF) == self.send(bench, 1 << 32 | 0xFFFF) == []

    def test_the_range_selector_is_not_there(self) -> None:
        """RS is RES0 with ICC_CTLR_EL1.RSS = 0: a target list is Aff0 0 to 15, whoever else there is."""
        bench = GicBench(affinities=[0, 1, 0x11])
        assert self.send(bench, 1 << 44 | 0b10) == [1]

    def test_all_others_are_all_others_whatever_else_is_written(self) -> None:
        bench = GicBench(affinities=[0, 1, 0x0102_0304])
        assert self.send(bench, 1 << 40 | 7 << 48 | 7 << 32 | 7 << 16 | 0b11, sender=0) == [1, 2]

    @pytest.mark.parametrize("configured", [0, 1])
    def test_groups(self, bench: GicBench, configured: int) -> None:
        bench.gicr(1, IGROUPR, configured << 5)
        reached = self.send(bench, 0b10, group1=False)
        assert reached == ([1] if configured == 0 else []), "SGI0R reaches Group 0 only"
        assert self.send(bench, 0b10, group1=True) == [1], "SGI1R reaches both"

    def test_it_is_taken_once(self, bench: GicBench) -> None:
        bench.enable_private(1, 5)
        self.send(bench, 0b10)
        self.send(bench, 0b10)
        assert bench.cpu(1).read_iar1() == 5
        bench.cpu(1).write_eoir1(5)
        assert not bench.irq(1)
