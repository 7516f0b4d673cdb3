"""The ring: what it keeps, what it counts, and what it is from several threads at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from avmm.errors import ConfigError
from avmm.exits import HALTED, YIELDED
from avmm.plugin import Tracepoint
from avmm.testing import ScriptedVm, Spin
from avmm_trace.instrument import MAX_EVENTS, TraceInstrument, create_instrument
from avmm_trace.perfetto_file import read
from avmm_trace.recorder import Recorder
from avmm_trace.summary import Summary
from tests.sleepers import sleeps


async def test_a_full_ring_keeps_the_last_and_counts_the_lost(tmp_path: Path) -> None:
    instruments = [TraceInstrument(tmp_path / "all"), TraceInstrument(tmp_path / "last", 10)]
    async with ScriptedVm([*[YIELDED] * 20, HALTED], instruments=instruments) as vm:
        await vm.start()
        await vm.until(lambda: sleeps(vm.vcpus[0]))
    whole, last = read(tmp_path / "all"), read(tmp_path / "last")
    assert (whole.lost, last.recorded) == (0, 10)
    assert whole.recorded == last.recorded + last.lost
    assert whole.slices[-1].name == last.slices[-1].name == "halted"
    assert f"{last.lost} before those are lost" in Summary.of(last).text()


async def test_no_event_of_several_threads_is_lost_or_counted_twice(eager_threads: None) -> None:
    each, threads = 5_000, 4
    async with ScriptedVm(*[[Spin()]] * threads) as vm:
        recorder, small = Recorder(vm, 1 << 17), Recorder(vm, 100)
        recorder.start()
        small.start()

        def tell(index: int) -> None:
            for value in range(each):
                vm.vcpus[index].trace(Tracepoint.REQUEST_MADE, value)

        workers = [threading.Thread(target=tell, args=(index,)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        small.stop()
        recorder.stop()
        events, lost = recorder.events()
        assert lost == 0
        assert sorted(event[0] for event in events) == list(range(len(events)))
        for index in range(threads):
            assert sorted(event[4] for event in events if event[2] == index) == list(range(each))
        kept, fell_out = small.events()
        assert len(kept) == 100
        assert len(kept) + fell_out == len(events)


async def test_recording_ends(tmp_path: Path) -> None:
    async with ScriptedVm([Spin()]) as vm:
        vm.vcpus[0].trace = None
        recorder = Recorder(vm, 100)
        recorder.start()
        assert vm.vcpus[0].trace is not None
        assert vm.bus.trace is not None
        recorder.stop()
        assert vm.vcpus[0].trace is None
        assert vm.bus.trace is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("t,events=0", "0 events: a ring holds from 1 to 16777216"),
        (f"t,events={MAX_EVENTS + 1}", "16777217 events: a ring holds from 1 to 16777216"),
        ("t,events=many", "'events=many' is not events=N"),
        ("t,size=1", "'size=1' is not events=N"),
        ("t,", "'' is not events=N"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        create_instrument(setting)
    assert str(raised.value) == f"trace: {message}"


@pytest.mark.parametrize(("path", "reason"), [(".", "Is a directory"), ("missing/trace", "No such file or directory")])
async def test_a_file_that_cannot_be_written_is_told_before_the_guest_runs(tmp_path: Path, path: str, reason: str) -> None:
    instrument = create_instrument(str(tmp_path / path))
    with pytest.raises(ConfigError) as raised:
        async with ScriptedVm([Spin()], instruments=[instrument]):
            raise AssertionError("not reached")
    assert str(raised.value) == f"trace: {tmp_path / path}: {reason}"


async def test_a_full_disk_is_told_at_the_end() -> None:
    with pytest.raises(ConfigError, match="trace: /dev/full: No space left on device"):
        async with ScriptedVm([HALTED], instruments=[TraceInstrument(Path("/dev/full"))]) as vm:
            await vm.start()


async def test_an_instrument_records_one_vm(tmp_path: Path) -> None:
    instrument = TraceInstrument(tmp_path / "trace")
    async with ScriptedVm([Spin()], instruments=[instrument]):
        with pytest.raises(ConfigError, match="records one VM"):
            async with ScriptedVm([Spin()], instruments=[instrument]):
                raise AssertionError("not reached")
    assert read(tmp_path / "trace").vm == "test"
