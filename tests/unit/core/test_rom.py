"""Memory that is a device: how the VM gives it its place, and who is told when its reads begin to trap."""

from __future__ import annotations

from typing import cast

import pytest

from avmm.device import Device, DeviceOptions, Width
from avmm.errors import ConfigError
from avmm.exits import HALTED
from avmm.memory import PAGE_SIZE
from avmm.rom import Rom, loose_rom
from avmm.testing import DEVICES_BASE, MmioWrite, Script, ScriptedEngine, ScriptedVcpu, ScriptedVm, Spin

SIZE = 2 * PAGE_SIZE


class Chip(Device):
    """Its reads trap while the last byte written to it is not 0."""

    def __init__(self, options: DeviceOptions, size: int = SIZE) -> None:
        self.size = size
        self.rom = options.make_rom(size)
        self.closed = 0

    def read(self, offset: int, width: Width) -> int:
        return 0

    def write(self, offset: int, width: Width, value: int) -> None:
        self.rom.direct = value == 0

    def reset(self) -> None:
        self.rom.direct = True

    def close(self) -> None:
        self.closed += 1


def reads_trapped(vm: ScriptedVm) -> set[int]:
    return cast(ScriptedEngine, vm.machine.engine).reads_trapped


def chip_of(vm: ScriptedVm) -> Chip:
    return cast(Chip, vm.device("chip"))


@pytest.mark.parametrize("slot", ["inline", "thread"])
async def test_what_the_device_holds_is_read_only_memory_at_its_place(slot):
    async with ScriptedVm([], slot=slot, devices={"chip": Chip}) as vm:
        chip_of(vm).rom.buffer[:4] = b"code"
        memory = vm.memory.find(DEVICES_BASE, SIZE)
        assert memory is not None
        assert (memory.read_only, memory.name, memory.size) == (True, "chip", SIZE)
        assert vm.memory.read(DEVICES_BASE, 4) == b"code"
        assert memory in cast(ScriptedEngine, vm.machine.engine).memory


@pytest.mark.parametrize("slot", ["inline", "thread"])
async def test_the_other_vcpus_flush_their_tlbs_when_reads_begin_or_cease_to_trap(slot):
    def writer(cpu: ScriptedVcpu) -> Script:
        for value in (1, 2, 0, 0, 3):
            yield MmioWrite(DEVICES_BASE, value)
        cpu.write_register("x0", 1)
        while True:
            yield HALTED

    async with ScriptedVm(writer, [Spin()], slot=slot, devices={"chip": Chip}) as vm:
        before = [vm.guest(index).tlb_flushes for index in (0, 1)]
        await vm.start()
        await vm.until(lambda: vm.guest(0).read_register("x0") and not vm.vcpus[1].request_pending())
        assert reads_trapped(vm) == {DEVICES_BASE}
        flushes = [vm.guest(index).tlb_flushes - before[index] for index in (0, 1)]
        assert flushes[0] == 0, "the engine has seen to the one that stored"
        assert 1 <= flushes[1] <= 3, "three changes, some of which may have been seen together"


async def test_a_reset_makes_reads_direct_again_for_all():
    async with ScriptedVm([], [], devices={"chip": Chip}) as vm:
        with vm.device_lock:
            chip_of(vm).write(0, Width.W8, 1)
        assert reads_trapped(vm) == {DEVICES_BASE}
        for vcpu in vm.vcpus:
            vcpu.discard_requests()
        vm.bus.reset()
        assert reads_trapped(vm) == set()
        assert all(vcpu.request_pending() for vcpu in vm.vcpus)


async def test_nothing_is_done_for_a_change_that_is_none():
    async with ScriptedVm([], devices={"chip": Chip}) as vm:
        with vm.device_lock:
            chip_of(vm).rom.direct = True
        assert not vm.vcpus[0].request_pending()


@pytest.mark.parametrize(
    ("size", "message"),
    [(100, "memory slot chip: address 0x10000000 and size 0x64 must be multiples of 4096"), (0x3000_1000, "overlaps ram")],
)
async def test_memory_that_cannot_be_there(size, message):
    with pytest.raises(ConfigError, match=message):
        async with ScriptedVm([], devices={"chip": lambda options: Chip(options, size)}):
            pass


async def test_devices_are_closed_once_also_when_a_later_one_cannot_be_made():
    made: list[Chip] = []

    def create(options: DeviceOptions) -> Device:
        if made:
            raise ConfigError("no second one")
        made.append(Chip(options))
        return made[0]

    with pytest.raises(ConfigError, match="no second one"):
        async with ScriptedVm([], devices={"chip": create, "other": create}):
            pass
    assert made[0].closed == 1
    made.clear()
    async with ScriptedVm([], devices={"chip": create}) as vm:
        await vm.start()
    assert made[0].closed == 1


def test_without_a_machine_there_is_just_memory():
    rom = loose_rom(PAGE_SIZE)
    assert (len(rom.buffer), rom.direct) == (PAGE_SIZE, True)
    rom.direct = False
    assert not rom.direct
    told: list[bool] = []
    rom = Rom(rom.buffer, told.append)
    for on in (False, False, True):
        rom.direct = on
    assert told == [True, False], "of changes alone"
