"""Whatever a guest does to the GIC: nothing raises, and what is signalled is what an exhaustive search would signal."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.plugin import Width
from tests.unit.arm64.gic_bench import FRAME, GicBench

CPUS = 3
# Few enough interrupts and priorities that they meet: ties, masks that just hold, preemption.
PRIVATE, SHARED = st.sampled_from([0, 5, 27]), st.sampled_from([32, 33, 40, 287])
PRIORITIES = st.sampled_from([0x00, 0x20, 0x28, 0x80, 0xA0, 0xF8])
values = st.one_of(st.sampled_from([0, 1, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF]), st.integers(0, 2**64 - 1))
widths = st.sampled_from(list(Width))
cpus = st.integers(0, CPUS - 1)
# Registers that matter more often than the holes between them.
gicd_offsets = st.one_of(
    st.integers(0, 0xFFFF),
    st.builds(lambda block, word: block + 4 * word, st.sampled_from(range(0x80, 0x400, 0x80)), st.integers(0, 9)),
    st.integers(0x400, 0x520),
    st.integers(0xC00, 0xC48),
    st.integers(0x6000, 0x6A00),
    st.just(0),
)
gicr_offsets = st.builds(
    lambda cpu, offset: cpu * FRAME + offset,
    cpus,
    st.one_of(
        st.integers(0, FRAME - 1),
        st.builds(lambda block: 0x10000 + block, st.sampled_from(range(0x80, 0x400, 0x80))),
        st.integers(0x10400, 0x10420),
    ),
)
reads = st.sampled_from(["iar0", "iar1", "hppir0", "hppir1", "rpr", "pmr", "bpr0", "bpr1", "ctlr", "igrpen0", "igrpen1"])
writes = st.sampled_from(["eoir0", "eoir1", "dir", "pmr", "bpr0", "bpr1", "ctlr", "igrpen0", "igrpen1"])
meeting = st.one_of(
    st.tuples(st.just("private"), cpus, PRIVATE, PRIORITIES, st.integers(0, 1)),
    st.tuples(st.just("shared"), cpus, SHARED, PRIORITIES, st.integers(0, 1)),
    st.tuples(st.just("spi"), SHARED.map(lambda intid: intid - 32), st.booleans()),
    st.tuples(st.just("cpu_read"), cpus, st.sampled_from(["iar0", "iar1"])),
    st.tuples(st.just("cpu_write"), cpus, st.just("pmr"), st.one_of(PRIORITIES, st.just(0xFF))),
    st.tuples(st.just("cpu_write"), cpus, st.sampled_from(["bpr0", "bpr1", "ctlr"]), st.integers(0, 7)),
    st.tuples(st.just("end"), cpus, st.sampled_from(["eoir0", "eoir1", "dir"]), st.one_of(PRIVATE, SHARED)),
)
operations = st.one_of(
    meeting,
    meeting,
    st.tuples(st.just("gicd_write"), gicd_offsets, widths, values),
    st.tuples(st.just("gicd_read"), gicd_offsets, widths),
    st.tuples(st.just("gicr_write"), gicr_offsets, widths, values),
    st.tuples(st.just("gicr_read"), gicr_offsets, widths),
    st.tuples(st.just("cpu_read"), cpus, reads),
    st.tuples(st.just("cpu_write"), cpus, writes, values),
    st.tuples(st.just("end"), cpus, st.sampled_from(["eoir0", "eoir1", "dir"]), st.integers(0, 300)),
    st.tuples(st.just("apr"), cpus, st.integers(0, 1), values),
    st.tuples(st.just("sgi"), cpus, values, st.booleans()),
    st.tuples(st.just("spi"), st.integers(-1, 260), st.booleans()),
    st.tuples(st.just("ppi"), cpus, st.integers(16, 31), st.booleans()),
    st.tuples(st.just("reset"), cpus),
)


def apply(bench: GicBench, operation: tuple[object, ...]) -> None:
    gic = bench.gic
    match operation:
        case ("gicd_write", int(offset), Width() as width, int(value)):
            gic.distributor.write(offset, width, value & (1 << 8 * width) - 1)
        case ("gicd_read", int(offset), Width() as width):
            assert 0 <= gic.distributor.read(offset, width) < 1 << 64
        case ("gicr_write", int(offset), Width() as width, int(value)):
            gic.region.write(offset, width, value & (1 << 8 * width) - 1)
        case ("gicr_read", int(offset), Width() as width):
            assert 0 <= gic.region.read(offset, width) < 1 << 64
        case ("private", int(index), int(intid), int(priority), int(group)):
            bench.gicr(index, 0x80, bench.read_gicr(index, 0x80) & ~(1 << intid) | group << intid)
            bench.enable_private(index, intid, priority=priority)
            bench.gicr(index, 0x200, 1 << intid)
        case ("shared", int(index), int(intid), int(priority), int(group)):
            word, bit = intid // 32 * 4, intid % 32
            bench.gicd(0x80 + word, bench.read_gicd(0x80 + word) & ~(1 << bit) | group << bit)
            bench.enable_spi(intid, priority=priority, target=index)
            bench.gicd(0x200 + word, 1 << bit)
        case ("cpu_read", int(index), str(name)):
            assert 0 <= getattr(gic.interfaces[index], f"read_{name}")() < 1 << 32
        case ("cpu_write" | "end", int(index), str(name), int(value)):
            getattr(gic.interfaces[index], f"write_{name}")(value)
        case ("apr", int(index), int(group), int(value)):
            gic.interfaces[index].write_apr(group, value)
            assert gic.interfaces[index].read_apr(group) == value & 0xFFFF_FFFF
        case ("sgi", int(index), int(value), bool(group1)):
            gic.send_sgi(index, value, group1=group1)
        case ("spi", int(number), bool(level)):
            gic.set_spi_level(number, level)
        case ("ppi", int(index), int(intid), bool(level)):
            gic.set_ppi_level(index, intid, level)
        case ("reset", int(index)):
            gic.interfaces[index].reset()
        case _:
            raise AssertionError(operation)


def highest_pending(bench: GicBench, index: int) -> tuple[int, int, int] | None:
    """(priority, INTID, group) of what IHI 0069 4.8.3 calls the highest priority pending interrupt, read through registers."""
    cpu = bench.cpu(index)
    enabled_groups = [bench.read_gicd(0) & 1 and cpu.read_igrpen0(), bench.read_gicd(0) & 2 and cpu.read_igrpen1()]
    found = []
    for word in range(9):
        read = bench.read_gicd if word else (lambda offset: bench.read_gicr(index, offset))
        group, enabled, pending, active = (read(offset + 4 * word) for offset in (0x80, 0x100, 0x200, 0x300))
        candidates = pending & enabled & ~active
        for bit in (bit for bit in range(32) if candidates >> bit & 1):
            intid = 32 * word + bit
            if word and bench.read_gicd(0x6000 + 8 * intid, Width.W64) != index:
                continue
            if enabled_groups[group >> bit & 1]:
                found.append((read(0x400 + (intid & ~3)) >> 8 * (intid & 3) & 0xFF, intid, group >> bit & 1))
    return min(found, default=None)


def check(bench: GicBench) -> None:
    for index in range(CPUS):
        cpu = bench.cpu(index)
        assert bench.pins.get(index, (False, False)) == (cpu.irq, cpu.fiq)
        assert not (cpu.irq and cpu.fiq)
        highest = highest_pending(bench, index)
        assert (cpu.read_hppir0(), cpu.read_hppir1()) == (
            (1023, 1023) if highest is None else (highest[1], 1023) if highest[2] == 0 else (1023, highest[1])
        )
        signalled = False
        if highest is not None:
            priority, _, group = highest
            point = cpu.read_bpr0() + 1 if group == 0 or cpu.read_ctlr() & 1 else cpu.read_bpr1()
            signalled = priority < cpu.read_pmr() and priority >> point << point < cpu.read_rpr()
            assert (cpu.irq, cpu.fiq) == (signalled and group == 1, signalled and group == 0)
        assert (cpu.irq or cpu.fiq) == signalled


@settings(max_examples=100, deadline=None)
@given(st.lists(operations, min_size=20, max_size=60))
def test_any_sequence_of_accesses(sequence: list[tuple[object, ...]]) -> None:
    bench = GicBench(affinities=[0, 1, 2])
    for operation in sequence:
        apply(bench, operation)
    check(bench)


@settings(max_examples=150, deadline=None)
@given(st.lists(meeting, min_size=5, max_size=25))
def test_every_step_of_interrupts_that_meet(sequence: list[tuple[object, ...]]) -> None:
    bench = GicBench(affinities=[0, 1, 2])
    for operation in sequence:
        apply(bench, operation)
        check(bench)
