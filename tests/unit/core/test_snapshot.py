"""A VM at one moment, and the JSON of it."""

from __future__ import annotations

import json
from dataclasses import fields

from avmm import Request
from avmm.clock import VirtualClock
from avmm.plugin import NO_WAKEUP, Device, DeviceOptions, Halted, VcpuStats, VmSnapshot, Width, take_snapshot
from avmm.testing import ScriptedVm
from tests.sleepers import sleeps


class Bell(Device):
    """Reads as what was written."""

    size = 0x100

    def __init__(self, options: DeviceOptions) -> None:
        self._value = 0

    def read(self, offset: int, width: Width) -> int:
        return self._value

    def write(self, offset: int, width: Width, value: int) -> None:
        self._value = value


async def test_before_the_start_nothing_has_happened():
    async with ScriptedVm([Halted()], [Halted()], name="two") as vm:
        shot = take_snapshot(vm)
    assert (shot.name, shot.state, shot.started_ns, shot.guest_faults) == ("two", "init", -1, {})
    assert [(vcpu.index, vcpu.mode, vcpu.exits, vcpu.guest_ns) for vcpu in shot.vcpus] == [
        (0, "OUTSIDE_GUEST_MODE", 0, 0),
        (1, "OUTSIDE_GUEST_MODE", 0, 0),
    ]


async def test_what_has_happened_by_name():
    async with ScriptedVm([Halted()], devices={"bell": Bell}) as vm:
        await vm.start()
        vcpu = vm.vcpus[0]
        await vm.until(lambda: sleeps(vcpu))
        vm.bus.write(0x1000_0000, 4, 7)
        vm.guest_fault("mmio", "twice")
        vcpu.make_request(Request.TLB_FLUSH)
        shot = take_snapshot(vm)
        assert shot.vcpus[0].asleep
        assert shot.vcpus[0].exits == vcpu.stats.exits == 1
        assert shot.vcpus[0].exits_by_reason["halted"] == 1
        assert shot.vcpus[0].requests["TLB_FLUSH"] == (1, 0)
        assert shot.vcpus[0].pending == ["TLB_FLUSH"]
        assert shot.guest_faults == {"mmio": 1}
        assert [(device.name, device.address, device.writes) for device in shot.devices] == [("bell", 0x1000_0000, 1)]
        vcpu.make_request_and_kick(Request.MMU_RELOAD & ~NO_WAKEUP)
        again = take_snapshot(vm).vcpus[0]
        assert again.requests["MMU_RELOAD"] == (1, 0)
        assert again.kicks["wakeup"] == shot.vcpus[0].kicks["wakeup"] + 1
        assert again.wakeups == shot.vcpus[0].wakeups + 1


def test_an_entry_and_a_sleep_under_way_are_in_the_times():
    clock = VirtualClock(start_ns=1000)
    stats = VcpuStats()
    stats.guest_ns, stats.blocked_ns = 10, 20
    assert stats.times_ns(clock) == (10, 20)
    stats.entered_ns = 900
    assert stats.times_ns(clock) == (110, 20)
    stats.entered_ns, stats.slept_ns = -1, 400
    assert stats.times_ns(clock) == (10, 620)
    stats.slept_ns = 1001  # just now, on another thread
    assert stats.times_ns(clock) == (10, 20)


async def test_its_json_is_the_snapshot():
    async with ScriptedVm([Halted()], name="json") as vm:
        shot = take_snapshot(vm)
    told = json.loads(shot.to_json())
    assert told["name"] == "json"
    assert told["vcpus"][0]["mode"] == "OUTSIDE_GUEST_MODE"
    assert set(told) == {field.name for field in fields(VmSnapshot)}
