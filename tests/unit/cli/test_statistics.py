"""The figures' tables: exact, and never wider than a terminal likes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.cli.statistics import WIDTH, Snapshot, closing_table, growth_table, short
from avmm.exits import ExitReason
from avmm.instrument import KickAction, ObservedVm, VcpuStats


class FakeVm(SimpleNamespace):
    """What the tables read of a VM."""

    now_ns: int

    def __init__(self, *stats: VcpuStats) -> None:
        super().__init__(
            name="vm0",
            clock=SimpleNamespace(now_ns=lambda: self.now_ns),
            vcpus=[SimpleNamespace(stats=one) for one in stats],
            request_names={0: "TLB_FLUSH", 9: "IRQ_PENDING"},
            guest_faults={},
        )
        self.now_ns = 0

    @property
    def observed(self) -> ObservedVm:
        return cast(ObservedVm, self)


def some_stats() -> VcpuStats:
    stats = VcpuStats()
    stats.wakeups, stats.spurious_wakeups = 6, 1
    stats.requests_made.update({0: 3, 9: 4})
    stats.requests_handled.update({0: 2, 9: 4})
    stats.kicks[KickAction.IPI], stats.kicks[KickAction.WAKEUP], stats.kicks[KickAction.NOTHING] = 1, 2, 3
    stats.exits, stats.guest_ns, stats.blocked_ns = 12_345_678, 500_000_000, 250_000_000
    stats.exits_by_reason[ExitReason.MMIO_READ] = 40
    stats.exits_by_reason[ExitReason.MMIO_WRITE] = 2
    stats.exits_by_reason[ExitReason.YIELDED] = stats.exits_by_reason[ExitReason.FAULT] = 1
    stats.kick_to_exit.count(1000)
    stats.kick_to_exit.count(3000)
    return stats


CLOSING = """\
-- vm0 ended: shutdown after 1.000 s -------------------------------------------------------------
vcpu  guest asleep  exits kicked halted   mmio sysreg    hvc  other requests    ipi wakeup nothing
   0  50.0%  25.0%  12.3M      0      0     42      0      0      2        7      1      2       3

request                    made    handled
TLB_FLUSH                     3          2
IRQ_PENDING                   4          4

from kick to exit (2): 50% below 1.0 us, 99% below 4.1 us, mean 2.0 us
wake-ups 6, of them spurious 1
odd things the guest did: bad_psci 2, unclaimed 1
"""


def test_the_closing_table() -> None:
    vm = FakeVm(some_stats())
    vm.now_ns = 3_000_000_000
    vm.guest_faults = {"unclaimed": 1, "bad_psci": 2}
    assert closing_table(vm.observed, Snapshot.of(vm.observed), 2_000_000_000, "ended: shutdown") == CLOSING


def test_growth_is_per_second_and_summed_over_vcpus() -> None:
    busy, idle = VcpuStats(), VcpuStats()
    vm = FakeVm(busy, idle)
    vm.now_ns = 5_000_000_000
    before = Snapshot.of(vm.observed)
    vm.now_ns = 7_000_000_000
    busy.exits, busy.guest_ns, busy.kicks[KickAction.IPI] = 10, 1_000_000_000, 4
    text = growth_table("vm0", "running", before, Snapshot.of(vm.observed), 4_000_000_000)
    assert text.splitlines() == [
        "-- vm0 running, 3.0 s: counts per second ---------------------------------------------------------",
        "vcpu  guest asleep  exits kicked halted   mmio sysreg    hvc  other requests    ipi wakeup nothing",
        "   0  50.0%   0.0%      5      0      0      0      0      0      0        0      2      0       0",
        "   1   0.0%   0.0%      0      0      0      0      0      0      0        0      0      0       0",
        " all  25.0%   0.0%      5      0      0      0      0      0      0        0      2      0       0",
    ]


@pytest.mark.parametrize(
    ("entered_ns", "slept_ns", "shares"), [(500_000_000, -1, ["50.0%", "0.0%"]), (-1, 250_000_000, ["0.0%", "75.0%"])]
)
def test_an_entry_or_a_sleep_that_has_not_ended_counts(entered_ns: int, slept_ns: int, shares: list[str]) -> None:
    stats = VcpuStats()
    vm = FakeVm(stats)
    before = Snapshot.of(vm.observed)
    vm.now_ns, stats.entered_ns, stats.slept_ns = 1_000_000_000, entered_ns, slept_ns
    assert growth_table("vm0", "running", before, Snapshot.of(vm.observed), 0).splitlines()[-1].split()[1:3] == shares


def test_a_kick_of_seconds_has_no_bound() -> None:
    stats = VcpuStats()
    stats.kick_to_exit.count((1 << 30) - 1)
    stats.kick_to_exit.count(1 << 40)
    vm = FakeVm(stats)
    text = closing_table(vm.observed, Snapshot.of(vm.observed), 0, "ended")
    assert "from kick to exit (2): 50% below 1.1 s, 99% below for ever, mean 550.3 s" in text


@pytest.mark.parametrize(("vcpus", "lines"), [(1, 1), (2, 3), (16, 17), (17, 1)])
def test_as_many_vcpus_are_shown_as_fit(vcpus: int, lines: int) -> None:
    vm = FakeVm(*(VcpuStats() for _ in range(vcpus)))
    before = Snapshot.of(vm.observed)
    assert len(growth_table("vm0", "running", before, before, 0).splitlines()) == 2 + lines


def test_a_large_machine_is_one_line() -> None:
    vm = FakeVm(*(VcpuStats() for _ in range(64)))
    for vcpu in vm.vcpus:
        vcpu.stats.exits = 1
    text = closing_table(vm.observed, Snapshot.of(vm.observed), 0, "ended")
    assert "\n all " in text
    assert len(text.splitlines()) < 10
    assert " 64 " in text.splitlines()[2]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (99_999, "99999"),
        (100_000, "100k"),
        (12_345_678, "12.3M"),
        (99_940_000, "99.9M"),
        (99_950_000, "100M"),
        (999_499_999, "999M"),
        (999_500_000, "1.0G"),
        (10**22, "lots"),
    ],
)
def test_counts_are_short(count: int, text: str) -> None:
    assert short(count) == text


@given(st.integers(0, 1 << 80))
def test_a_count_has_five_characters_at_most_and_its_value(count: int) -> None:
    text = short(count)
    assert len(text) <= 5
    if text.isdigit():
        assert int(text) == count
    elif text != "lots":
        value = float(text[:-1]) * 1000 ** ("kMGTPE".index(text[-1]) + 1)
        assert abs(value - count) <= count * 0.05


@given(st.integers(0, 1 << 70), st.integers(1, 1 << 60))
def test_no_line_is_wider_than_the_table(count: int, ns: int) -> None:
    stats = VcpuStats()
    stats.exits, stats.guest_ns, stats.blocked_ns, stats.kicks = count, count, count, [count] * 3
    stats.requests_made[9] = count
    stats.exits_by_reason = [count] * len(ExitReason)
    vm = FakeVm(VcpuStats(), VcpuStats())
    before = Snapshot.of(vm.observed)
    vm.vcpus = [SimpleNamespace(stats=stats)] * 2
    vm.now_ns = ns
    text = growth_table("vm0", "running", before, Snapshot.of(vm.observed), 0)
    assert {len(line) for line in text.splitlines()[1:]} == {WIDTH}
