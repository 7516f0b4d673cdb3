"""What a timeline shows of a VM: who asked for what, what came of it, and where the time went."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from avmm import Request
from avmm.exits import HALTED, YIELDED
from avmm.plugin import Device, DeviceOptions, IrqLine, Width
from avmm.testing import DEVICES_BASE, MmioRead, MmioWrite, ReadSystemRegister, ScriptedVm, Spin, ToyRequest, in_thread
from avmm_trace.instrument import TraceInstrument
from avmm_trace.perfetto_file import read
from avmm_trace.summary import Summary
from avmm_trace.timeline import Category, Slice, Timeline
from tests.sleepers import sleeps

ACK = ReadSystemRegister("irq_ack")


class Bell(Device):
    """Raises its line when it is written, lowers it when it is read."""

    size = 0x10

    def __init__(self, irq: IrqLine) -> None:
        self.irq = irq

    def read(self, offset: int, width: Width) -> int:
        self.irq.set_level(False)
        return 0

    def write(self, offset: int, width: Width, value: int) -> None:
        self.irq.set_level(True)


def bell(options: DeviceOptions) -> Bell:
    assert options.irq is not None
    return Bell(options.irq)


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., object]:
    """`async with recorded(...) as (vm, result):` a scripted VM that is recorded; `result()` is its timeline, afterwards."""

    @asynccontextmanager
    async def recording(*programs: object, events: int = 1 << 17, **settings: object) -> AsyncIterator[object]:
        instrument = TraceInstrument(tmp_path / "trace", events)

        def result() -> Timeline:
            timeline = read(tmp_path / "trace")
            assert timeline == instrument.timeline, "what is read is what was written"
            return timeline

        async with ScriptedVm(*programs, instruments=[instrument], **settings) as vm:  # type: ignore[arg-type]
            yield vm, result

    return recording


def arrow(timeline: Timeline, flow: int) -> list[tuple[Category, str, str]]:
    """Where an arrow passes: category, name and track of each of its slices, in order."""
    return [(one.category, one.name, timeline.tracks[one.track].name) for one in timeline.slices if flow in one.flows]


def one(slices: list[Slice]) -> Slice:
    assert len(slices) == 1, slices
    return slices[0]


async def test_an_arrow_leads_from_the_request_to_the_kick_the_exit_and_the_handler(recorded) -> None:
    async with recorded([Spin()], slot="thread") as (vm, result):
        await vm.start()
        await vm.until(lambda: vm.guest().spinning)
        in_thread(lambda: vm.vcpus[0].make_request_and_kick(ToyRequest.WORK))
        await vm.until(lambda: vm.guest().entries == 2)
    timeline = result()
    request = one([each for each in timeline.of(Category.REQUEST) if each.name == "WORK to vCPU 0"])
    assert arrow(timeline, request.flows[0]) == [
        (Category.REQUEST, "WORK to vCPU 0", "thread 1"),
        (Category.KICK, "IPI to vCPU 0", "thread 1"),
        (Category.EXIT, "kicked", "vCPU 0"),
        (Category.HANDLER, "WORK", "vCPU 0"),
    ]
    kick = one([each for each in timeline.of(Category.KICK) if request.flows[0] in each.flows])
    exiting = next(each for each in timeline.of(Category.MODE) if each.name == "EXITING_GUEST_MODE")
    leaving = next(each for each in timeline.of(Category.EXIT))
    assert (exiting.start_ns, exiting.end_ns) == (kick.start_ns, leaving.start_ns)
    assert vm.vcpus[0].stats.kick_to_exit.sum_ns == pytest.approx(
        sum(each.length_ns for each in timeline.of(Category.MODE) if each.name == "EXITING_GUEST_MODE"), abs=1_000_000
    )


async def test_a_wake_up_leads_to_the_handler_without_an_exit(recorded) -> None:
    async with recorded([HALTED, Spin()]) as (vm, result):
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        in_thread(lambda: vm.vcpus[0].make_request_and_kick(Request.UNBLOCK))
        await vm.until(lambda: vm.guest().entries == 2)
    timeline = result()
    request = one([each for each in timeline.of(Category.REQUEST) if each.name == "UNBLOCK to vCPU 0"])
    assert [step[:2] for step in arrow(timeline, request.flows[0])][:2] == [
        (Category.REQUEST, "UNBLOCK to vCPU 0"),
        (Category.KICK, "WAKEUP to vCPU 0"),
    ]


async def test_a_guest_that_kicks_another_is_named_as_the_one_who_did(recorded) -> None:
    def kick() -> None:
        vm.vcpus[1].make_request_and_kick(ToyRequest.WORK)

    async with recorded([MmioRead(DEVICES_BASE), HALTED], [Spin()], slot="thread", devices={"bell": bell}) as (vm, result):
        device = vm.device("bell")
        device.read = lambda offset, width: kick() or 0
        vm.vcpus[0].power_off()
        await vm.start()
        vm.vcpus[0].power_off()
        await vm.until(lambda: vm.guest(1).spinning)
        vm.vcpus[0].power_on()
        await vm.until(lambda: vm.guest(1).entries >= 2)
    timeline = result()
    request = one([each for each in timeline.of(Category.REQUEST) if each.name == "WORK to vCPU 1"])
    assert timeline.tracks[request.track].name == "vCPU 0"


async def test_time_is_what_the_figures_say(recorded) -> None:
    async with recorded([HALTED, ACK, YIELDED, HALTED]) as (vm, result):
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
        vm.clock.call_at(vm.clock.now_ns() + 5_000, lambda: vm.toy.raise_irq(0))
        await vm.until(lambda: vm.vcpus[0].stats.halts == 2 and sleeps(vm.vcpus[0]))
        asleep_ns = vm.vcpus[0].stats.halt_wait.sum_ns
    timeline = result()
    summary = Summary.of(timeline)
    assert max(one.length_ns for one in timeline.of(Category.SLEEP)) == asleep_ns == 5_000
    assert summary.longest_halt is not None
    assert (summary.longest_halt.length_ns, summary.longest_halt.track) == (5_000, "vCPU 0")
    assert summary.exits == {"halted": 2, "yielded": 1}
    assert summary.vcpus[0].exits == 3
    assert [one.name for one in timeline.of(Category.STATE)] == ["init", "running", "halted"]


async def test_a_pause_is_no_halt(recorded) -> None:
    async with recorded([Spin()], slot="thread") as (vm, result):
        await vm.start()
        await vm.until(lambda: vm.guest().spinning)
        async with vm.paused():
            await vm.until(lambda: sleeps(vm.vcpus[0]))
    timeline = result()
    assert [one.name for one in timeline.of(Category.SLEEP)] == ["off"]
    assert Summary.of(timeline).longest_halt is None
    assert [one.name for one in timeline.of(Category.STATE)] == ["init", "running", "paused", "running", "halted"]


async def test_devices_and_their_lines_are_shown(recorded) -> None:
    guest = [MmioWrite(DEVICES_BASE, 1), MmioRead(DEVICES_BASE + 8), HALTED]
    async with recorded(guest, devices={"bell": bell}) as (vm, result):
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
    timeline = result()
    seen = [(one.name, timeline.tracks[one.track].name) for one in timeline.of(Category.DEVICE)]
    assert seen == [("write bell 0x0", "vCPU 0"), ("read bell 0x8", "vCPU 0")]
    assert [timeline.tracks[one.track].name for one in timeline.of(Category.INTERRUPT)] == ["line of bell"]


async def test_virtual_time_gives_the_same_timeline_each_time(recorded) -> None:
    timelines = []
    for _ in range(2):
        async with recorded([HALTED, ACK, YIELDED, HALTED], [YIELDED, HALTED]) as (vm, result):
            await vm.start()
            await vm.until(lambda: sleeps(vm.vcpus[0]) and sleeps(vm.vcpus[1]))
            vm.clock.call_at(vm.clock.now_ns() + 1_000, lambda vm=vm: vm.toy.raise_irq(0))
            await vm.until(lambda: vm.vcpus[0].stats.halts == 2)
            await vm.stop()
        timelines.append(result())
    assert timelines[0] == timelines[1]


async def test_nothing_is_left_behind(recorded) -> None:
    async with recorded([Spin()], devices={"bell": bell}) as (vm, _):
        bus = vm.bus
        assert bus.trace is not None
    assert bus.trace is None
    assert all(region.irq is None or region.irq.trace is None for region in bus)


async def test_slices_of_a_track_do_not_overlap_unless_one_is_inside_the_other(recorded) -> None:
    async with recorded([YIELDED, HALTED, ACK, YIELDED, Spin()], [Spin()], slot="thread", max_in_guest=1) as (vm, result):
        await vm.start()
        for count in range(1, 60):
            vm.vcpus[count % 2].make_request_and_kick((ToyRequest.WORK, Request.UNBLOCK)[count % 3 == 0])
            if not count % 7:
                vm.toy.raise_irq(0)
            await vm.passes(3)
    timeline = result()
    for track in timeline.tracks:
        open_until = 0
        for each in (one for one in timeline.slices if one.track == track and one.length_ns):
            assert each.start_ns >= open_until
            open_until = each.end_ns
