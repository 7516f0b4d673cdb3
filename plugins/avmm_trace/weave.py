"""From events to a timeline: who was where when, who asked for what, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import assert_never

from avmm.plugin import ExitReason, KickAction, Tracepoint, VcpuMode
from avmm_trace.recorder import VM, Event, Sample, VmEvent
from avmm_trace.timeline import Category, CounterSample, Slice, Timeline, Track

VM_TRACK, LOOP_TRACK = 1, 2
_FIRST_VCPU_TRACK, _TRACKS_A_VCPU = 16, 2
_FIRST_OTHER_TRACK = 1 << 16


class _Vcpu:
    """What is known of one vCPU at one moment of the walk through the events."""

    def __init__(self, index: int) -> None:
        self.track = vcpu_track(index)
        self.doing: Slice | None = None
        """What it does, while that goes on: in the guest, entering, asleep."""
        self.mode: Slice | None = None
        self.left_for = ""
        """Why it left the guest last."""
        self.pending: dict[int, list[int]] = defaultdict(list)
        """Arrows of the requests that are pending, by number."""
        self.asked: dict[int, int] = {}
        """The arrow of the request that a thread made last and has not kicked for yet, by thread."""
        self.kicked: list[int] = []
        """Arrows of the kicks that no exit has followed yet."""


def vcpu_track(index: int) -> int:
    """The track of vCPU `index`; that of its mode is the next."""
    return _FIRST_VCPU_TRACK + _TRACKS_A_VCPU * index


class Weaver:
    """Makes a timeline of events, each in turn."""

    def __init__(self, timeline: Timeline, names: Mapping[int, str], devices: Sequence[tuple[int, int, str]], loop: int) -> None:
        """`names` of requests; `devices` as (address, end, name); `loop` is the event loop's thread."""
        self._timeline, self._names, self._devices = timeline, names, devices
        self._vcpus: dict[int, _Vcpu] = {}
        self._threads: dict[int, int] = {loop: LOOP_TRACK}
        """The track of what a thread does, by thread: its own, or that of the vCPU whose guest it executes."""
        self._own_threads = dict(self._threads)
        self._levels: dict[str, Slice] = {}
        self._named: dict[str, int] = {}
        self._state: Slice | None = None
        self._next_flow = 1
        self._track(VM_TRACK, timeline.vm)
        self._track(LOOP_TRACK, "event loop")

    def weave(self, events: Sequence[Event]) -> None:
        """Take all events, in the order of time."""
        now_ns = 0
        for _, now_ns, source, what, value, thread in events:
            match what:
                case Tracepoint():
                    assert isinstance(value, int)
                    self._of_vcpu(self._vcpu(source), now_ns, what, value, thread, source)
                case VmEvent():
                    assert source == VM
                    self._of_vm(now_ns, what, value, thread)
                case _:
                    assert_never(what)
        for vcpu in self._vcpus.values():
            self._stop(vcpu, now_ns)
            self._leave_mode(vcpu, now_ns)
        for one in (*self._levels.values(), *([self._state] if self._state is not None else ())):
            one.end_ns = now_ns
        self._timeline.slices.sort(key=lambda one: one.start_ns)

    # The vCPUs.

    def _of_vcpu(self, vcpu: _Vcpu, at_ns: int, point: Tracepoint, value: int, thread: int, index: int) -> None:
        match point:
            case Tracepoint.MODE_IN:
                self._enter_mode(vcpu, at_ns, VcpuMode.IN_GUEST_MODE)
                self._do(vcpu, at_ns, Category.GUEST, "entering")
            case Tracepoint.ENTRY:
                self._do(vcpu, at_ns, Category.GUEST, "guest")
                self._threads[thread] = vcpu.track
            case Tracepoint.EXIT:
                self._threads[thread] = self._own_threads.get(thread, 0)
                self._exit(vcpu, at_ns, value)
            case Tracepoint.ENTRY_ABORTED:
                self._stop(vcpu, at_ns)
                self._leave_mode(vcpu, at_ns)
                self._moment(vcpu.track, at_ns, Category.GUEST, "entry given up", vcpu.kicked)
                vcpu.kicked = []
            case Tracepoint.ASLEEP:
                self._do(vcpu, at_ns, Category.SLEEP, "halted" if vcpu.left_for == ExitReason.HALTED.name.lower() else "off")
            case Tracepoint.WAKEUP | Tracepoint.AFTER_REQUESTS:
                self._stop(vcpu, at_ns)
                vcpu.kicked = []
            case Tracepoint.READING:
                self._enter_mode(vcpu, at_ns, VcpuMode.READING_SHADOW_PAGE_TABLES)
            case Tracepoint.READ:
                self._leave_mode(vcpu, at_ns)
            case Tracepoint.REQUEST_MADE:
                self._request(vcpu, at_ns, value, thread, index)
            case Tracepoint.KICK:
                self._kick(vcpu, at_ns, KickAction(value), thread, index)
            case Tracepoint.REQUEST_HANDLED:
                name = self._names.get(value, str(value))
                self._moment(vcpu.track, at_ns, Category.HANDLER, name, vcpu.pending.pop(value, ()))
                if name == "SLEEP":
                    vcpu.left_for = name
            case Tracepoint.WOKEN:
                self._moment(self._thread(thread), at_ns, Category.WAKEUP, f"wake vCPU {index}")
            case Tracepoint.IRQ_PIN:
                self._level(f"vCPU {index} IRQ pin", at_ns, bool(value), vcpu.track)
            case Tracepoint.FIQ_PIN:
                self._level(f"vCPU {index} FIQ pin", at_ns, bool(value), vcpu.track)
            case Tracepoint.PRIVATE_LINE:
                self._level(f"vCPU {index} PPI {value >> 1}", at_ns, bool(value & 1), vcpu.track)
            case Tracepoint.TIMER_ARMED:
                self._moment(vcpu.track, at_ns, Category.TIMER, "timer set", (), f"due in {value - at_ns} ns")
            case Tracepoint.TIMER_EXPIRED:
                self._moment(LOOP_TRACK, at_ns, Category.TIMER, f"timer of vCPU {index}", (), f"{value} ns late")
            case (
                Tracepoint.LOOP_TOP
                | Tracepoint.IRQS_OFF
                | Tracepoint.AFTER_LAST_CHECK
                | Tracepoint.POLL
                | Tracepoint.BEFORE_SLEEP_CHECK
            ):
                pass  # not recorded
            case _:
                assert_never(point)

    def _request(self, vcpu: _Vcpu, at_ns: int, number: int, thread: int, index: int) -> None:
        flow, self._next_flow = self._next_flow, self._next_flow + 1
        vcpu.pending[number].append(flow)
        vcpu.asked[thread] = flow
        name = f"{self._names.get(number, number)} to vCPU {index}"
        self._moment(self._thread(thread), at_ns, Category.REQUEST, name, [flow])

    def _kick(self, vcpu: _Vcpu, at_ns: int, action: KickAction, thread: int, index: int) -> None:
        asked = vcpu.asked.pop(thread, None)
        flows = [] if asked is None else [asked]
        self._moment(self._thread(thread), at_ns, Category.KICK, f"{action.name} to vCPU {index}", flows)
        if action is not KickAction.NOTHING:
            vcpu.kicked += flows
        if vcpu.mode is not None and vcpu.mode.name == VcpuMode.IN_GUEST_MODE.name:
            self._enter_mode(vcpu, at_ns, VcpuMode.EXITING_GUEST_MODE)

    def _exit(self, vcpu: _Vcpu, at_ns: int, reason: int) -> None:
        self._stop(vcpu, at_ns)
        self._leave_mode(vcpu, at_ns)
        vcpu.left_for = ExitReason(reason).name.lower() if reason >= 0 else "failed"
        self._moment(vcpu.track, at_ns, Category.EXIT, vcpu.left_for, vcpu.kicked)
        vcpu.kicked = []

    def _do(self, vcpu: _Vcpu, at_ns: int, category: Category, name: str) -> None:
        self._stop(vcpu, at_ns)
        vcpu.doing = self._begin(vcpu.track, at_ns, category, name)

    def _stop(self, vcpu: _Vcpu, at_ns: int) -> None:
        if vcpu.doing is not None:
            vcpu.doing.end_ns = at_ns
            vcpu.doing = None

    def _enter_mode(self, vcpu: _Vcpu, at_ns: int, mode: VcpuMode) -> None:
        self._leave_mode(vcpu, at_ns)
        vcpu.mode = self._begin(vcpu.track + 1, at_ns, Category.MODE, mode.name)

    def _leave_mode(self, vcpu: _Vcpu, at_ns: int) -> None:
        if vcpu.mode is not None:
            vcpu.mode.end_ns = at_ns
            vcpu.mode = None

    # The VM.

    def _of_vm(self, at_ns: int, what: VmEvent, value: int | str | Sample, thread: int) -> None:
        match what:
            case VmEvent.STATE:
                assert isinstance(value, str)
                if self._state is not None:
                    self._state.end_ns = at_ns
                self._state = self._begin(VM_TRACK, at_ns, Category.STATE, value)
            case VmEvent.READ | VmEvent.WRITE:
                assert isinstance(value, int)
                self._moment(self._thread(thread), at_ns, Category.DEVICE, f"{what.value} {self._place(value)}")
            case VmEvent.LINE_HIGH | VmEvent.LINE_LOW:
                self._level(f"line of {value}", at_ns, what is VmEvent.LINE_HIGH, 0)
            case VmEvent.SAMPLE:
                assert isinstance(value, tuple)
                for name, number in value:
                    self._timeline.samples.append(CounterSample(self._other(name, counter=True), at_ns, number))
            case _:
                assert_never(what)

    def _place(self, address: int) -> str:
        for start, end, name in self._devices:
            if start <= address < end:
                return f"{name} {address - start:#x}"
        return f"{address:#x}"

    def _level(self, name: str, at_ns: int, level: bool, parent: int) -> None:
        high = self._levels.pop(name, None)
        if high is not None:
            high.end_ns = at_ns
        if level:
            self._levels[name] = self._begin(self._other(name, parent), at_ns, Category.INTERRUPT, "high")

    # Tracks.

    def _vcpu(self, index: int) -> _Vcpu:
        vcpu = self._vcpus.get(index)
        if vcpu is None:
            vcpu = self._vcpus[index] = _Vcpu(index)
            self._track(vcpu.track, f"vCPU {index}")
            self._track(vcpu.track + 1, f"vCPU {index} mode", vcpu.track)
        return vcpu

    def _thread(self, thread: int) -> int:
        """The track of whoever acts on `thread` now."""
        track = self._threads.get(thread, 0)
        if not track:
            track = self._threads[thread] = self._own_threads[thread] = self._other(f"thread {len(self._own_threads)}")
        return track

    def _other(self, name: str, parent: int = 0, *, counter: bool = False) -> int:
        """The track called `name`."""
        number = self._named.get(name)
        if number is None:
            number = self._named[name] = _FIRST_OTHER_TRACK + len(self._named)
            self._track(number, name, parent, counter=counter)
        return number

    def _track(self, number: int, name: str, parent: int = 0, *, counter: bool = False) -> None:
        self._timeline.tracks[number] = Track(number, name, parent, counter)

    def _begin(self, track: int, at_ns: int, category: Category, name: str) -> Slice:
        one = Slice(track, at_ns, at_ns, category, name)
        self._timeline.slices.append(one)
        return one

    def _moment(self, track: int, at_ns: int, category: Category, name: str, flows: Sequence[int] = (), detail: str = "") -> None:
        self._timeline.slices.append(Slice(track, at_ns, at_ns, category, name, detail, sorted(flows)))
