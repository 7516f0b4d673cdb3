"""The messages of the live stream, as JSON: what a page is told once, and what it is told ten times a second.

The format is version 1; `docs/live-stream.md` describes it. Each message is bounded, however large the VM is and however fast
its guest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from avmm.plugin import ExitReason, Halt, KickAction, LineView, ObservedVm, Vcpu, VcpuSnapshot, take_vcpu_snapshot
from avmm_control.ui.lanes import CHANGES, KICKS, LaneState, Look, Stretch

VERSION = 1
LANES = 16
"""vCPUs that one page shows at a time."""
ROWS = 64
"""Rows of any list in a message; how many are left out is told."""
MAX_BYTES = 1024 + LANES * (256 + 18 * CHANGES) + 40 * KICKS + 7 * 128 * ROWS
"""No message is larger."""


def hello(vm: ObservedVm, session: str, interval_ms: int) -> str:
    """The first message: what does not change."""
    config = vm.config
    return _json(
        {
            "type": "hello",
            "version": VERSION,
            "session": session,
            "interval_ms": interval_ms,
            "lanes": LANES,
            "vm": {
                "name": vm.name,
                "vcpus": len(vm.vcpus),
                "slots": len(vm.slots),
                "memory": config.memory_bytes,
                **{key: str(getattr(config, key)) for key in ("arch", "cpu", "engine", "irqchip", "clock", "slot")},
            },
            "requests": {str(number): name for number, name in vm.request_names.items()},
            "states": [state.name.lower() for state in LaneState],
            "actions": [*(action.name.lower() for action in KickAction), "woken"],
            "exits": [reason.name.lower() for reason in ExitReason],
        }
    )


def end(halt: Halt | None) -> str:
    """The last message: how the VM ended."""
    how = "stopped" if halt is None else str(halt)
    return _json({"type": "end", "reason": "stopped" if halt is None else halt.reason.value, "how": _short(how, 500)})


class Frames:
    """Makes the frames of one look, each part once however many pages want it."""

    def __init__(self, vm: ObservedVm, look: Look, number: int, *, panels: bool, machine: bool) -> None:
        """`panels` and `machine` say which of the slower parts belong to this frame."""
        self._vm, self._look, self._panels, self._machine = vm, look, panels, machine
        self._stretches = {stretch.vcpu: stretch for stretch in look.stretches}
        self._parts: dict[tuple[str, int], str] = {}
        self._number = number

    def frame(self, first: int, selected: int) -> str:
        """The frame for a page that shows `LANES` vCPUs from `first` on, and one closely."""
        parts = [self._part("vm", 0, self._vm_part), self._part("lanes", first, self._lanes)]
        if self._panels:
            parts.append(self._part("vcpu", selected, self._vcpu))
        if self._machine:
            parts.append(self._part("machine", 0, self._machine_part))
        return f'{{"type":"frame","number":{self._number},{",".join(parts)}}}'

    def _part(self, name: str, key: int, make: Callable[[int], object]) -> str:
        part = self._parts.get((name, key))
        if part is None:
            part = self._parts[name, key] = f'"{name}":{_json(make(key))}'
        return part

    def _vm_part(self, _: int) -> object:
        vm, look = self._vm, self._look
        counted = vm.config.count_instructions or not vm.clock.is_host
        return {
            "from": look.from_ns // 1000,
            "to": look.to_ns // 1000,
            "state": vm.state(),
            "clock": vm.clock.now_ns() // 1000,
            "started": min((s for vcpu in vm.vcpus if (s := vcpu.stats.started_ns) >= 0), default=-1) // 1000,
            "instructions": sum(vcpu.engine.instructions for vcpu in vm.vcpus) if counted else None,
        }

    def _lanes(self, first: int) -> object:
        look, watched = self._look, range(first, first + LANES)
        return {
            "first": first,
            "rows": [self._lane(self._stretches[index]) for index in watched if index in self._stretches],
            "kicks": [
                [(kick.at_ns - look.from_ns) // 1000, kick.source, kick.target, kick.action, kick.request]
                for kick in look.kicks
                if kick.target in watched or kick.source in watched
            ],
            "kicks_left_out": look.kicks_left_out,
        }

    def _lane(self, stretch: Stretch) -> object:
        vcpu = self._vm.vcpus[stretch.vcpu]
        stats, from_ns = vcpu.stats, self._look.from_ns
        guest_ns, asleep_ns = stats.times_ns(self._vm.clock)
        lane: dict[str, object] = {
            "changes": [part for at_ns, state in stretch.changes for part in (max(0, at_ns - from_ns) // 1000, int(state))],
            "state": int(stretch.now),
            "mode": vcpu.mode.name,
            "pending": _pending(vcpu),
            "counts": [stats.exits, guest_ns // 1000, asleep_ns // 1000, *stats.kicks],
        }
        if stretch.exact_until_ns < self._look.to_ns:
            lane["rest"] = [
                max(0, stretch.exact_until_ns - from_ns) // 1000,
                stretch.guest_ns // 1000,
                stretch.asleep_ns // 1000,
            ]
        return lane

    def _vcpu(self, index: int) -> object:
        return _panel(take_vcpu_snapshot(self._vm, self._vm.vcpus[index]), self._vm.clock.now_ns())

    def _machine_part(self, _: int) -> object:
        vm = self._vm
        with vm.device_lock:
            lines = vm.arch.lines()
            devices = [
                [
                    _short(region.name),
                    f"{region.address:#x}",
                    region.reads,
                    region.writes,
                    region.faults,
                    region.quarantined,
                    None if region.irq is None else region.irq.level,
                ]
                for region in islice(vm.bus, ROWS)
            ]
        return {
            "devices": devices,
            "lines": _lines(lines),
            "faults": _some((_short(kind), count) for kind, count in dict(vm.guest_faults).items()),
            "unclaimed": vm.bus.unclaimed,
        }


def _panel(vcpu: VcpuSnapshot, now_ns: int) -> Mapping[str, object]:
    """One vCPU, closely."""
    return {
        "index": vcpu.index,
        "mode": vcpu.mode,
        "asleep": vcpu.asleep,
        "powered_off": vcpu.powered_off,
        "exits": list(vcpu.exits_by_reason.values()),
        "requests": _some([_short(name), made, handled] for name, (made, handled) in vcpu.requests.items()),
        "pending": vcpu.pending[:ROWS],
        "wakeups": [vcpu.wakeups, vcpu.spurious_wakeups],
        "timers": _some([_short(timer.name), max(0, timer.due_ns - now_ns) // 1000] for timer in vcpu.timers),
        "lines": _lines(vcpu.lines),
        "counters": _some(
            # A string: JavaScript's numbers are exact up to 2**53 only.
            [_short(counter.name), _short(counter.event), counter.enabled, str(counter.value)]
            for counter in vcpu.counters
        ),
    }


def _lines(lines: Iterable[LineView]) -> Mapping[str, object]:
    return _some([_short(line.name), line.level, line.pending, line.active] for line in lines)


def _some(rows: Iterable[object]) -> Mapping[str, object]:
    """The first rows, and how many are left out."""
    every = list(rows)
    return {"rows": every[:ROWS], "left_out": max(0, len(every) - ROWS)}


def _pending(vcpu: Vcpu) -> list[int]:
    """The numbers of the requests that are pending now."""
    word = vcpu.requests
    return [number for number in range(word.bit_length()) if word >> number & 1]


def _short(text: str, most: int = 64) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _json(message: object) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)
