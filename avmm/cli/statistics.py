"""A VM's figures as plain text: what happened in the last second, and in all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from avmm.clock import Clock
from avmm.exits import ExitReason
from avmm.figure import BUCKETS, Histogram
from avmm.instrument import KickAction, ObservedVm, VcpuStats
from avmm.record import Record

SHOWN_VCPUS = 16
"""More vCPUs than these are shown as one line, so that a large machine does not scroll everything away."""

_HEADING = "vcpu  guest asleep  exits kicked halted   mmio sysreg    hvc  other requests    ipi wakeup nothing"
_WIDTHS = (6, 6, 6, 6, 6, 6, 6, 8, 6, 6, 7)
WIDTH = len(_HEADING)

_COLUMNS: tuple[tuple[ExitReason, ...], ...] = (
    (ExitReason.KICKED,),
    (ExitReason.HALTED,),
    (ExitReason.MMIO_READ, ExitReason.MMIO_WRITE),
    (ExitReason.SYSTEM_REGISTER,),
    (ExitReason.HYPERCALL,),
    (ExitReason.YIELDED, ExitReason.BUDGET, ExitReason.DEBUG, ExitReason.FAULT),
)


class Figures(Record):
    """One vCPU's figures at one moment, or their growth between two."""

    guest_ns: int
    blocked_ns: int
    counts: tuple[int, ...]
    """The columns of the table behind the times."""

    @classmethod
    def of(cls, stats: VcpuStats, clock: Clock) -> Figures:
        """The figures now. Others may count on meanwhile: each figure is right, if not all of the same moment."""
        guest_ns, blocked_ns = stats.times_ns(clock)
        reasons = stats.exits_by_reason
        exits = (sum(reasons[reason] for reason in column) for column in _COLUMNS)
        # A copy of a dict is made in one step; a walk over it is not.
        made = sum(stats.requests_made.copy().values())
        kicks = (stats.kicks[action] for action in (KickAction.IPI, KickAction.WAKEUP, KickAction.NOTHING))
        return cls(guest_ns, blocked_ns, (stats.exits, *exits, made, *kicks))

    def since(self, before: Figures) -> Figures:
        """How much these have grown since `before`."""
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        return Figures(self.guest_ns - before.guest_ns, self.blocked_ns - before.blocked_ns, counts)


def total(figures: Iterable[Figures]) -> Figures:
    """The sum of several vCPUs' figures."""
    rows = list(figures)
    return Figures(
        sum(row.guest_ns for row in rows),
        sum(row.blocked_ns for row in rows),
        tuple(map(sum, zip(*(row.counts for row in rows), strict=True))),
    )


class Snapshot(Record):
    """All vCPUs' figures at one moment of the VM's clock."""

    now_ns: int
    rows: tuple[Figures, ...]

    @classmethod
    def of(cls, vm: ObservedVm) -> Snapshot:
        """The figures of `vm` now."""
        return cls(vm.clock.now_ns(), tuple(Figures.of(vcpu.stats, vm.clock) for vcpu in vm.vcpus))


def growth_table(name: str, state: str, before: Snapshot, now: Snapshot, started_ns: int) -> str:
    """What happened between two snapshots, per second for the counts."""
    ns = max(1, now.now_ns - before.now_ns)
    rows = [_per_second(row.since(then), ns) for row, then in zip(now.rows, before.rows, strict=True)]
    title = f"{name} {state}, {(now.now_ns - started_ns) / 1e9:.1f} s: counts per second"
    return "\n".join((_ruled(title), *_rows(rows, 1_000_000_000))) + "\n"


def closing_table(vm: ObservedVm, snapshot: Snapshot, started_ns: int, ending: str) -> str:
    """What happened in all: the table, then requests by name and how long kicks took."""
    ns = max(1, snapshot.now_ns - started_ns)
    lines = [_ruled(f"{vm.name} {ending} after {ns / 1e9:.3f} s"), *_rows(snapshot.rows, ns)]
    stats = [vcpu.stats for vcpu in vm.vcpus]
    lines += ["", *_requests(stats, vm.request_names)]
    kick_to_exit = _merged(one.kick_to_exit for one in stats)
    if any(kick_to_exit.buckets):
        lines += ["", f"from kick to exit ({sum(kick_to_exit.buckets)}): {_distribution(kick_to_exit)}"]
    lines.append(f"wake-ups {sum(one.wakeups for one in stats)}, of them spurious {sum(one.spurious_wakeups for one in stats)}")
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(vm.guest_faults.items()))
    if faults:
        lines.append(f"odd things the guest did: {faults}")
    return "\n".join(lines) + "\n"


def _per_second(row: Figures, ns: int) -> Figures:
    def rate(count: int) -> int:
        return round(count * 1_000_000_000 / ns)

    return Figures(rate(row.guest_ns), rate(row.blocked_ns), tuple(map(rate, row.counts)))


def _rows(rows: Sequence[Figures], ns: int) -> list[str]:
    lines = [_HEADING]
    if len(rows) <= SHOWN_VCPUS:
        lines += [_row(str(index), row, ns) for index, row in enumerate(rows)]
    if len(rows) != 1:
        lines.append(_row("all", total(rows), ns * len(rows)))
    return lines


def _row(label: str, row: Figures, ns: int) -> str:
    shares = (f"{min(100.0, 100 * part / ns):5.1f}%" for part in (row.guest_ns, row.blocked_ns))
    counts = (count.rjust(width) for count, width in zip(map(short, row.counts), _WIDTHS, strict=True))
    return f"{label:>4} " + " ".join(shares) + " " + " ".join(counts)


def _requests(stats: Sequence[VcpuStats], names: Mapping[int, str]) -> list[str]:
    made, handled = _merged_counts(one.requests_made for one in stats), _merged_counts(one.requests_handled for one in stats)
    lines = [f"{'request':<20} {'made':>10} {'handled':>10}"]
    for number in sorted(made.keys() | handled.keys()):
        lines.append(f"{names.get(number, str(number)):<20.20} {made.get(number, 0):>10} {handled.get(number, 0):>10}")
    return lines


def _merged_counts(counts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    merged: dict[int, int] = {}
    for one in counts:
        for number, count in dict(one).items():
            merged[number] = merged.get(number, 0) + count
    return merged


def _merged(histograms: Iterable[Histogram]) -> Histogram:
    merged = Histogram()
    for one in histograms:
        merged.buckets = [a + b for a, b in zip(merged.buckets, one.buckets, strict=True)]
        merged.sum_ns += one.sum_ns
    return merged


def _distribution(histogram: Histogram) -> str:
    count = sum(histogram.buckets)
    parts = (f"{share}% below {_below(histogram, share, count)}" for share in (50, 99))
    return f"{', '.join(parts)}, mean {_duration(histogram.sum_ns / count)}"


def _below(histogram: Histogram, percent: int, count: int) -> str:
    """The upper bound of the bucket in which `percent` of all durations are reached."""
    reached = 0
    for bucket, durations in enumerate(histogram.buckets):
        reached += durations
        if reached * 100 >= count * percent:
            return _duration(1 << bucket) if bucket < BUCKETS - 1 else "for ever"
    raise AssertionError("the buckets add up to their count")


def _duration(ns: float) -> str:
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= scale:
            return f"{ns / scale:.1f} {unit}"
    return f"{ns:.0f} ns"


def short(count: int) -> str:
    """A count in at most five characters: 99999, 100k, 12.3M, 4.5G."""
    if count < 100_000:
        return str(count)
    value = float(count)
    for unit in "kMGTPE":
        value /= 1000
        if value < 99.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return "lots"


def _ruled(title: str) -> str:
    return f"-- {title} ".ljust(WIDTH, "-")
