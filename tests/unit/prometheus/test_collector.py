"""What a scrape shows: the plain integers, under pinned names."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from avmm.bus import Region
from avmm.errors import ConfigError
from avmm.exits import ExitReason
from avmm.figure import Figure, FigureKind, FigureValue, Histogram
from avmm.instrument import KickAction
from avmm.lifecycle import State
from avmm.vcpu.acks import Acknowledgements
from avmm_prometheus.collector import VmCollector
from avmm_prometheus.vm_metrics import STATES as VM_STATES
from tests.unit.prometheus.fakes import FakeVm
from tests.unit.prometheus.scrape import Page

NAMES = {
    "avmm_build_info": {"version", "python"},
    "avmm_scrape_failures_total": {"vm"},
    "avmm_vm_info": {"vm", "arch", "engine", "cpu", "irqchip", "clock", "slot", "affinity"},
    "avmm_vm_state": {"vm", "state"},
    "avmm_vm_vcpus": {"vm"},
    "avmm_vm_memory_bytes": {"vm"},
    "avmm_vm_clock_seconds_total": {"vm"},
    "avmm_vm_host_seconds_total": {"vm"},
    "avmm_vm_clock_ratio": {"vm"},
    "avmm_vm_slots": {"vm"},
    "avmm_vm_slots_taken": {"vm"},
    "avmm_vm_slot_waiters": {"vm"},
    "avmm_vm_slot_switches_total": {"vm"},
    "avmm_vm_guest_faults_total": {"vm", "kind"},
    "avmm_vm_remote_tlb_flush_requests_total": {"vm"},
    "avmm_vm_remote_tlb_flushes_total": {"vm"},
    **{
        f"avmm_{name}_seconds_{part}": {*labels, *more}
        for name, labels in {
            "vm_request_latency": {"vm", "request"},
            "vm_request_wait": {"vm"},
            "vm_kick_to_exit": {"vm"},
            "vm_exit_handling": {"vm", "reason"},
            "vm_halt_wait": {"vm"},
            "loop_lag": {"vm"},
            "vcpu_kick_to_exit": {"vm", "vcpu"},
            "vcpu_halt_wait": {"vm", "vcpu"},
        }.items()
        for part, more in {"bucket": {"le"}, "sum": set[str](), "count": set[str]()}.items()
    },
    "avmm_irq_raises_total": {"vm", "device"},
    "avmm_irq_level": {"vm", "device"},
    "avmm_bus_reads_total": {"vm", "device"},
    "avmm_bus_writes_total": {"vm", "device"},
    "avmm_bus_unclaimed_total": {"vm"},
    "avmm_device_faults_total": {"vm", "device"},
    "avmm_device_quarantined": {"vm", "device"},
    "avmm_vcpu_exits_total": {"vm", "vcpu", "reason"},
    "avmm_vcpu_entries_total": {"vm", "vcpu"},
    "avmm_vcpu_aborted_entries_total": {"vm", "vcpu"},
    "avmm_vcpu_requests_made_total": {"vm", "vcpu", "request"},
    "avmm_vcpu_requests_handled_total": {"vm", "vcpu", "request"},
    "avmm_vcpu_kicks_total": {"vm", "vcpu", "action"},
    "avmm_vcpu_ipis_acknowledged_total": {"vm", "vcpu"},
    "avmm_vcpu_waits_pending": {"vm", "vcpu"},
    "avmm_vcpu_oldest_wait_seconds": {"vm", "vcpu"},
    "avmm_vcpu_halts_total": {"vm", "vcpu"},
    "avmm_vcpu_halt_polls_total": {"vm", "vcpu"},
    "avmm_vcpu_halt_polls_successful_total": {"vm", "vcpu"},
    "avmm_vcpu_halt_poll_seconds_total": {"vm", "vcpu", "result"},
    "avmm_vcpu_halt_poll_window_seconds": {"vm", "vcpu"},
    "avmm_vcpu_wakeups_total": {"vm", "vcpu"},
    "avmm_vcpu_spurious_wakeups_total": {"vm", "vcpu"},
    "avmm_vcpu_guest_instructions_total": {"vm", "vcpu"},
    "avmm_vcpu_seconds_total": {"vm", "vcpu", "state"},
}
FIRES = Figure("timer_fires", FigureKind.COUNTER, "Times a timer went off.")


class Board:
    """One VM, and the page that shows it."""

    def __init__(self) -> None:
        self.vm = FakeVm()
        self.uart: Region = self.vm.add_device("uart0")
        self.collector = VmCollector()
        self.watched = self.collector.add(self.vm)

    def text(self, *, openmetrics: bool = False) -> str:
        return "".join(self.collector.lines(openmetrics=openmetrics))

    def page(self) -> Page:
        return Page(self.text())


@pytest.fixture
def board() -> Board:
    return Board()


def test_names_and_labels_are_pinned(board: Board) -> None:
    board.vm.guest_faults["bad"] = 1
    board.vm.parts[0].stats.request_latency[9].count(1)
    board.vm.parts[0].stats.exit_handling[0].count(1)
    page = board.page()
    assert {name for name, _ in page.samples} == NAMES.keys()
    assert {name: page.labels(name) for name in NAMES} == NAMES


def test_the_values_are_the_plain_integers(board: Board) -> None:
    stats = board.vm.parts[1].stats
    stats.exits, stats.aborted_entries, stats.halts, stats.wakeups, stats.spurious_wakeups = 11, 12, 13, 14, 15
    stats.ipis_acknowledged, stats.halt_attempted_poll, stats.halt_successful_poll = 16, 17, 18
    board.vm.parts[1].engine.instructions = 10**12
    page = board.page()
    for name, value in {
        "entries": 11,
        "aborted_entries": 12,
        "halts": 13,
        "wakeups": 14,
        "spurious_wakeups": 15,
        "ipis_acknowledged": 16,
        "halt_polls": 17,
        "halt_polls_successful": 18,
        "guest_instructions": 10**12,
    }.items():
        assert page.value(f"avmm_vcpu_{name}_total", vm="vm0", vcpu="1") == value, name
        assert page.value(f"avmm_vcpu_{name}_total", vm="vm0", vcpu="0") == 0, name


def test_exits_and_kicks_by_their_enums(board: Board) -> None:
    stats = board.vm.parts[0].stats
    for reason in ExitReason:
        stats.exits_by_reason[reason] = 100 + reason
    for action in KickAction:
        stats.kicks[action] = 200 + action
    page = board.page()
    for reason in ExitReason:
        assert page.value("avmm_vcpu_exits_total", vm="vm0", vcpu="0", reason=reason.name.lower()) == 100 + reason
    for action in KickAction:
        assert page.value("avmm_vcpu_kicks_total", vm="vm0", vcpu="0", action=action.name.lower()) == 200 + action


def test_requests_by_name_are_there_before_they_happen(board: Board) -> None:
    stats = board.vm.parts[0].stats
    stats.requests_made[9] += 3
    stats.requests_handled[9] += 2
    stats.requests_made[63] += 1  # nobody named it
    page = board.page()
    assert page.value("avmm_vcpu_requests_made_total", vm="vm0", vcpu="0", request="irq_pending") == 3
    assert page.value("avmm_vcpu_requests_handled_total", vm="vm0", vcpu="0", request="irq_pending") == 2
    assert page.value("avmm_vcpu_requests_made_total", vm="vm0", vcpu="0", request="other") == 1
    assert page.value("avmm_vcpu_requests_handled_total", vm="vm0", vcpu="0", request="vm_dead") == 0


def test_a_scrape_counts_no_request_into_being(board: Board) -> None:
    board.page()
    assert not board.vm.parts[0].stats.requests_made


class TestTime:
    def times(self, board: Board) -> tuple[float, ...]:
        """Seconds in the guest, blocked, on the host."""
        page = board.page()
        states = ("guest", "blocked", "host")
        return tuple(page.value("avmm_vcpu_seconds_total", vm="vm0", vcpu="0", state=state) for state in states)

    def test_before_the_start_there_is_none(self, board: Board) -> None:
        board.vm.time.advance(10**9)
        assert self.times(board) == (0, 0, 0)

    def test_the_three_are_all_the_time_there_is(self, board: Board) -> None:
        stats = board.vm.parts[0].stats
        stats.started_ns, stats.guest_ns, stats.blocked_ns = 10**9, 2 * 10**9, 3 * 10**9
        board.vm.time.advance(10 * 10**9)
        assert self.times(board) == (2, 3, 4)

    def test_an_entry_under_way_counts(self, board: Board) -> None:
        stats = board.vm.parts[0].stats
        stats.started_ns, stats.guest_ns, stats.entered_ns = 0, 10**9, 3 * 10**9
        board.vm.time.advance(5 * 10**9)
        assert self.times(board) == (3, 0, 2)

    def test_a_sleep_under_way_counts(self, board: Board) -> None:
        stats = board.vm.parts[0].stats
        stats.started_ns, stats.blocked_ns, stats.slept_ns = 0, 10**9, 2 * 10**9
        board.vm.time.advance(5 * 10**9)
        assert self.times(board) == (0, 4, 1)

    def test_it_stands_still_after_the_end(self, board: Board) -> None:
        stats = board.vm.parts[0].stats
        stats.started_ns, stats.guest_ns, stats.ended_ns = 0, 10**9, 3 * 10**9
        board.vm.time.advance(100 * 10**9)
        assert self.times(board) == (1, 0, 2)

    def test_an_entry_newer_than_the_time_takes_nothing_away(self, board: Board) -> None:
        stats = board.vm.parts[0].stats
        stats.started_ns, stats.guest_ns, stats.entered_ns = 0, 10**9, 10**9 + 1
        board.vm.time.advance(10**9)
        assert self.times(board) == (1, 0, 0)


def test_the_bus_and_its_devices(board: Board) -> None:
    for _ in range(3):
        board.vm.bus.read(board.uart.address, 4)
    board.vm.bus.write(board.uart.address, 4, 1)
    board.vm.bus.read(0xDEAD_0000, 4)
    page = board.page()
    assert page.value("avmm_bus_reads_total", vm="vm0", device="uart0") == 3
    assert page.value("avmm_bus_writes_total", vm="vm0", device="uart0") == 1
    assert page.value("avmm_bus_unclaimed_total", vm="vm0") == 1
    assert page.value("avmm_device_quarantined", vm="vm0", device="uart0") == 0
    board.vm.bus.read(board.uart.address + 12, 4)
    page = board.page()
    assert page.value("avmm_device_quarantined", vm="vm0", device="uart0") == 1
    assert page.value("avmm_device_faults_total", vm="vm0", device="uart0") == 1


def test_faults_slots_and_state(board: Board) -> None:
    board.vm.guest_faults.update(undefined=4, external_abort=2)
    board.vm.fake_slots[0].switches, board.vm.fake_slots[1].switches = 5, 6
    board.vm.state_name = "paused"
    page = board.page()
    assert page.value("avmm_vm_guest_faults_total", vm="vm0", kind="undefined") == 4
    assert page.value("avmm_vm_slot_switches_total", vm="vm0") == 11
    assert page.value("avmm_vm_slots", vm="vm0") == 2
    assert page.value("avmm_vm_vcpus", vm="vm0") == 2
    assert {state: page.value("avmm_vm_state", vm="vm0", state=state) for state in VM_STATES} == {
        "init": 0,
        "running": 0,
        "paused": 1,
        "reset": 0,
        "halted": 0,
    }


def test_the_states_are_those_of_a_vm() -> None:
    assert {state.value for state in State} == set(VM_STATES)


class TestHistograms:
    def test_a_vcpu_s(self, board: Board) -> None:
        board.vm.parts[0].stats.halt_wait = counted(1000, 2000, 3_000_000_000)
        page, name = board.page(), "avmm_vcpu_halt_wait_seconds"
        assert page.value(f"{name}_count", vm="vm0", vcpu="0") == 3
        assert page.value(f"{name}_sum", vm="vm0", vcpu="0") == pytest.approx(3.000003)
        assert page.value(f"{name}_bucket", vm="vm0", vcpu="0", le="1.024e-06") == 1
        assert page.value(f"{name}_bucket", vm="vm0", vcpu="0", le="+Inf") == 3
        assert page.kinds[name] == "histogram"

    def test_those_of_a_vm_are_its_vcpus_as_one(self, board: Board) -> None:
        for index, part in enumerate(board.vm.parts):
            part.stats.kick_to_exit = counted(3000 + index)
            part.stats.request_wait = counted(70_000)
            part.stats.exit_handling[ExitReason.HALTED] = counted(500)
        board.vm.parts[1].stats.exit_handling[ExitReason.YIELDED] = counted(600)
        board.vm.parts[1].stats.request_latency[9] = counted(900)
        board.vm.parts[1].stats.request_latency[63] = counted(900)  # nobody named it
        page = board.page()
        assert page.value("avmm_vm_kick_to_exit_seconds_bucket", vm="vm0", le="4.096e-06") == 2
        assert page.value("avmm_vm_kick_to_exit_seconds_sum", vm="vm0") == pytest.approx(6001e-9)
        assert page.value("avmm_vm_request_wait_seconds_count", vm="vm0") == 2
        assert page.value("avmm_vm_exit_handling_seconds_count", vm="vm0", reason="halted") == 2
        assert page.value("avmm_vm_exit_handling_seconds_count", vm="vm0", reason="yielded") == 1
        assert page.value("avmm_vm_request_latency_seconds_count", vm="vm0", request="irq_pending") == 1
        assert page.value("avmm_vm_request_latency_seconds_count", vm="vm0", request="other") == 1

    def test_the_loop_s_lag(self, board: Board) -> None:
        board.watched.loop_lag.count(5000)
        assert board.page().value("avmm_loop_lag_seconds_bucket", vm="vm0", le="8.192e-06") == 1

    def test_examples_in_open_metrics(self, board: Board) -> None:
        board.vm.parts[0].stats.kick_to_exit = counted(3000, 3100)
        board.vm.parts[1].stats.kick_to_exit = counted(3500)
        families = {family.name: family for family in openmetrics_families(board.text(openmetrics=True) + "# EOF\n")}
        buckets = [sample for sample in families["avmm_vm_kick_to_exit_seconds"].samples if sample.exemplar]
        assert [(bucket.labels["le"], bucket.exemplar.labels, bucket.exemplar.value) for bucket in buckets] == [
            ("4.096e-06", {"vcpu": "1"}, 3.5e-06)
        ]
        assert "# {" not in board.text()


def counted(*durations_ns: int) -> Histogram:
    histogram = Histogram()
    for duration in durations_ns:
        histogram.count(duration)
    return histogram


def test_both_formats_say_the_same(board: Board) -> None:
    board.vm.guest_faults["bad"] = 3
    board.vm.parts[1].arch.own = [(FIRES, 7)]
    board.vm.parts[0].stats.kick_to_exit = counted(3000)
    open_metrics = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in openmetrics_families(board.text(openmetrics=True) + "# EOF\n")
        for sample in family.samples
    }
    plain = board.page().samples
    clocks = ("avmm_vm_host_seconds_total", "avmm_vm_clock_ratio")  # the host's time goes on
    assert {key: value for key, value in open_metrics.items() if key[0] not in clocks} == {
        key: value for key, value in plain.items() if key[0] not in clocks
    }


@pytest.mark.parametrize("name", ['quo"te', "back\\slash", "new\nline", "100 %", "%s %d", "{}", "für", "\\n"])
def test_labels_are_escaped(name: str) -> None:
    collector, vm = VmCollector(), FakeVm(name, vcpus=1)
    late = Figure("late_seconds", FigureKind.HISTOGRAM, "Late.", {"of": name})
    vm.guest_faults[name] = 4
    vm.add_device(name, [(late, counted(1))])
    vm.parts[0].arch.own = [(Figure("odd", FigureKind.COUNTER, "Odd.", {"of": name}), 5)]
    vm.request_names[11] = name
    collector.add(vm)
    page = Page("".join(collector.lines(openmetrics=False)))
    assert page.value("avmm_vm_guest_faults_total", vm=name, kind=name) == 4
    assert page.value("avmm_vcpu_odd_total", vm=name, vcpu="0", of=name) == 5
    assert page.value("avmm_device_late_seconds_count", vm=name, device=name, of=name) == 1
    assert page.value("avmm_vcpu_requests_made_total", vm=name, vcpu="0", request=name.lower()) == 0
    families = openmetrics_families("".join(collector.lines(openmetrics=True)) + "# EOF\n")
    assert {sample.labels["vm"] for family in families for sample in family.samples if "vm" in sample.labels} == {name}


def test_a_vcpu_somebody_waits_for(board: Board) -> None:
    for since_ns in (3 * 10**9, 2 * 10**9):
        acks = Acknowledgements()
        acks.expect(since_ns)
        board.vm.parts[1].acks.append(acks)
    board.vm.time.advance(7 * 10**9)
    page = board.page()
    assert page.value("avmm_vcpu_waits_pending", vm="vm0", vcpu="1") == 2
    assert page.value("avmm_vcpu_oldest_wait_seconds", vm="vm0", vcpu="1") == 5
    assert page.value("avmm_vcpu_oldest_wait_seconds", vm="vm0", vcpu="0") == 0


def test_halt_polls_by_result(board: Board) -> None:
    stats = board.vm.parts[0].stats
    stats.halt_poll_success_ns, stats.halt_poll_fail_ns = 1_500_000_000, 2_000_000_000
    board.vm.parts[0].halt_poll.window_ns = 40_000
    page = board.page()
    assert page.value("avmm_vcpu_halt_poll_seconds_total", vm="vm0", vcpu="0", result="success") == 1.5
    assert page.value("avmm_vcpu_halt_poll_seconds_total", vm="vm0", vcpu="0", result="fail") == 2
    assert page.value("avmm_vcpu_halt_poll_window_seconds", vm="vm0", vcpu="0") == 0.00004


def test_interrupt_lines_by_their_device(board: Board) -> None:
    assert board.uart.irq is not None
    board.uart.irq.pulse()
    board.uart.irq.set_level(True)
    board.vm.add_device("rtc").irq = None
    page = board.page()
    assert page.value("avmm_irq_raises_total", vm="vm0", device="uart0") == 2
    assert page.value("avmm_irq_level", vm="vm0", device="uart0") == 1
    assert ("avmm_irq_level", (("device", "rtc"), ("vm", "vm0"))) not in page.samples


def test_the_vm_s_clock_beside_the_host_s(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic_ns", lambda: board.watched.since_host_ns + 4 * 10**9)
    board.vm.time.advance(10**9)
    page = board.page()
    assert page.value("avmm_vm_clock_seconds_total", vm="vm0") == 1
    assert page.value("avmm_vm_host_seconds_total", vm="vm0") == 4
    assert page.value("avmm_vm_clock_ratio", vm="vm0") == 0.25


def test_what_the_vm_is(board: Board) -> None:
    page = board.page()
    info = {"arch": "arm64", "engine": "unicorn", "cpu": "cortex-a57", "irqchip": ""}
    assert page.value("avmm_vm_info", vm="vm0", **info, clock="host", slot="thread", affinity="free") == 1
    assert page.value("avmm_vm_memory_bytes", vm="vm0") == 64 << 20


def test_slots_taken_and_waited_for(board: Board) -> None:
    board.vm.fake_slots[1].vcpu = board.vm.parts[0]
    board.vm.fake_slots[1].waiting = 3
    page = board.page()
    assert page.value("avmm_vm_slots_taken", vm="vm0") == 1
    assert page.value("avmm_vm_slot_waiters", vm="vm0") == 3


class TestFigures:
    def test_an_architecture_s(self, board: Board) -> None:
        late = Figure("timer_lateness_seconds", FigureKind.HISTOGRAM, "How late.", {"timer": "virtual"})
        histogram = Histogram()
        histogram.count(1_000_000)
        board.vm.parts[0].arch.own = [(FIRES, 7), (late, histogram)]
        page = board.page()
        assert page.value("avmm_vcpu_timer_fires_total", vm="vm0", vcpu="0") == 7
        assert page.value("avmm_vcpu_timer_lateness_seconds_count", vm="vm0", vcpu="0", timer="virtual") == 1
        assert page.kinds["avmm_vcpu_timer_lateness_seconds"] == "histogram"

    def test_an_engine_s(self, board: Board) -> None:
        blocks = [Figure("code_blocks", FigureKind.COUNTER, "Blocks.", {"source": source}) for source in ("vcpu", "cache")]
        board.vm.parts[0].arch.own = [(FIRES, 7)]
        for vcpu, values in enumerate(((2, 3), (5, 0))):
            board.vm.parts[vcpu].engine.own = list(zip(blocks, values, strict=True))
        page = board.page()
        assert page.value("avmm_vcpu_code_blocks_total", vm="vm0", vcpu="0", source="cache") == 3
        assert page.value("avmm_vcpu_code_blocks_total", vm="vm0", vcpu="1", source="vcpu") == 5
        assert page.value("avmm_vcpu_timer_fires_total", vm="vm0", vcpu="0") == 7
        assert page.value("avmm_scrape_failures_total", vm="vm0") == 0

    def test_an_engine_s_of_the_name_of_an_architecture_s_is_left_out(self, board: Board) -> None:
        board.vm.parts[0].arch.own = [(FIRES, 7)]
        board.vm.parts[0].engine.own = [(FIRES, 8)]
        page = board.page()
        assert page.value("avmm_vcpu_timer_fires_total", vm="vm0", vcpu="0") == 7
        assert page.value("avmm_scrape_failures_total", vm="vm0") == 1

    def test_an_engine_that_raises_keeps_nobody_else_s(self, board: Board) -> None:
        board.vm.parts[0].engine.broken = True
        board.vm.parts[0].arch.own = board.vm.parts[1].arch.own = [(FIRES, 7)]
        page = board.page()
        assert [page.value("avmm_vcpu_timer_fires_total", vm="vm0", vcpu=vcpu) for vcpu in "01"] == [7, 7]
        assert page.value("avmm_scrape_failures_total", vm="vm0") == 1

    def test_a_device_s(self, board: Board) -> None:
        depth = Figure("queue_depth", FigureKind.GAUGE, "Requests waiting.", {"queue": "rx"})
        board.vm.add_device("net0", [(depth, 3)])
        assert board.page().value("avmm_device_queue_depth", vm="vm0", device="net0", queue="rx") == 3

    @pytest.mark.parametrize(
        "wrong",
        [
            (Figure("exits", FigureKind.COUNTER, "Taken."), 1),
            (Figure("mine", FigureKind.COUNTER, "A taken label.", {"vcpu": "7"}), 1),
            (Figure("mine", FigureKind.HISTOGRAM, "Not a histogram."), 1),
            (Figure("mine", FigureKind.COUNTER, "A histogram."), Histogram()),
            (Figure("no-name", FigureKind.COUNTER, "Not a name."), 1),
            (Figure("timer_fires", FigureKind.GAUGE, "Of another kind."), 1),
            (Figure("timer_fires", FigureKind.COUNTER, "With other labels.", {"timer": "virtual"}), 1),
        ],
    )
    def test_a_wrong_one_is_counted_and_leaves_the_page_whole(self, board: Board, wrong: tuple[Figure, FigureValue]) -> None:
        board.vm.parts[0].arch.own = [(FIRES, 7), wrong]
        page = board.page()
        assert page.value("avmm_scrape_failures_total", vm="vm0") == 1
        assert page.value("avmm_vcpu_timer_fires_total", vm="vm0", vcpu="0") == 7
        assert page.value("avmm_vcpu_entries_total", vm="vm0", vcpu="1") == 0

    def test_one_that_raises_is_counted(self, board: Board) -> None:
        board.vm.parts[1].arch.broken = True
        board.page()
        assert board.page().value("avmm_scrape_failures_total", vm="vm0") == 2


class TestVms:
    def test_two_side_by_side(self, board: Board) -> None:
        other = FakeVm("vm1", vcpus=1)
        other.parts[0].stats.halts = 5
        board.collector.add(other)
        page = board.page()
        assert page.value("avmm_vcpu_halts_total", vm="vm1", vcpu="0") == 5
        assert page.value("avmm_vcpu_halts_total", vm="vm0", vcpu="0") == 0

    def test_two_of_one_name_are_refused(self, board: Board) -> None:
        with pytest.raises(ConfigError, match="another VM of the name vm0"):
            board.collector.add(FakeVm())

    def test_one_that_was_taken_out_is_read_no_more(self, board: Board) -> None:
        assert not board.collector.remove(board.vm)
        before = board.vm.read
        assert "vm0" not in board.text()
        assert board.vm.read == before

    def test_taking_out_waits_for_a_scrape_under_way(self, board: Board) -> None:
        inside, go_on, left = threading.Event(), threading.Event(), threading.Event()

        def state() -> str:
            inside.set()
            assert go_on.wait(60)
            return "running"

        board.vm.state = state  # type: ignore[method-assign]
        scraper = threading.Thread(target=board.text)

        def leave() -> None:
            board.collector.remove(board.vm)
            left.set()

        leaver = threading.Thread(target=leave)
        scraper.start()
        assert inside.wait(60)
        leaver.start()
        assert not left.is_set()
        go_on.set()
        scraper.join(60)
        leaver.join(60)
        assert left.is_set()


def test_a_thousand_vcpus(board: Board) -> None:
    big = FakeVm("big", vcpus=1000)
    big.parts[999].stats.halts = 1
    board.collector.add(big)
    page = board.page()
    assert page.value("avmm_vcpu_halts_total", vm="big", vcpu="999") == 1
    assert len({labels for name, labels in page.samples if name == "avmm_vcpu_entries_total"}) == 1002


def test_promtool_finds_nothing_to_say(board: Board) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    board.vm.guest_faults["undefined"] = 1
    late = Figure("timer_lateness_seconds", FigureKind.HISTOGRAM, "How late a timer went off.")
    board.vm.parts[0].arch.own = [(FIRES, 7), (late, Histogram())]
    check = subprocess.run([promtool, "check", "metrics"], input=board.text(), capture_output=True, text=True, timeout=60)
    assert (check.returncode, check.stdout + check.stderr) == (0, "")
