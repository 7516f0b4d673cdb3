"""A real guest by the API: its registers, its memory, its steps, its vCPUs' attributes."""

from __future__ import annotations

import pytest

from avmm import MachineConfig, Vm
from avmm_control.client import ControlClient, ControlError
from avmm_control.instrument import create_instrument

ADD, BACK = 0x91000400, 0x17FFFFFF
"""add x0, x0, #1; b .-4"""
IMAGE = b"".join(word.to_bytes(4, "little") for word in (ADD, BACK))


@pytest.fixture
async def guest(tmp_path):
    """(VM, its client) of a guest that counts in x0."""
    kernel = tmp_path / "count.img"
    kernel.write_bytes(IMAGE)
    config = MachineConfig(kernel=kernel, memory="4M", vcpus=2)
    path = tmp_path / "control.sock"
    async with Vm(config, instruments=[create_instrument(str(path))]) as vm, ControlClient(path) as control:
        await vm.start()
        yield vm, control.vm("vm0")


async def test_steps_are_exact_and_registers_show_it(guest):
    _, vm = guest
    await vm.pause()
    before = await vm.registers(0)
    at_add = before["pc"] == min(before["pc"], 0x4008_0000)
    [stepped] = await vm.step(1001)
    assert (stepped.vcpu, stepped.instructions, stepped.ended) == (0, 1001, "budget")
    after = await vm.registers(0)
    assert after["x0"] - before["x0"] == 500 + at_add
    assert after["pc"] == (before["pc"] ^ 4)
    await vm.step(1)
    assert await vm.register(0, "pc") == before["pc"]


async def test_every_register_that_is_shown_can_be_set(guest):
    _, vm = guest
    await vm.pause()
    for name, value in (await vm.registers(0)).items():
        await vm.set_register(0, name, value)
    await vm.set_register(0, "x0", (1 << 64) - 1)
    assert await vm.register(0, "x0") == (1 << 64) - 1
    for wrong in ("cntkctl_el1", "x31", "nothing"):  # the first is kept by the architecture
        with pytest.raises(ControlError, match="has no register") as refused:
            await vm.register(0, wrong)
        assert refused.value.status == 404


async def test_registers_of_a_running_vm_are_out_of_reach(guest):
    _, vm = guest
    with pytest.raises(ControlError, match="pause it first") as refused:
        await vm.registers(0)
    assert refused.value.status == 409


async def test_memory_is_read_and_written_in_one_piece_however_large(guest):
    _, vm = guest
    assert await vm.read_memory(0x4008_0000, len(IMAGE)) == IMAGE
    large = bytes(range(256)) * 4096 * 2
    await vm.write_memory(0x4010_0000, large)
    assert await vm.read_memory(0x4010_0000, len(large)) == large
    with pytest.raises(ControlError, match="guest memory has no") as refused:
        await vm.read_memory(0x4040_0000 - 4, 8)
    assert refused.value.status == 404


async def test_a_vcpu_that_is_off_is_not_stepped(guest):
    _, vm = guest
    await vm.pause()
    assert [one.vcpu for one in await vm.step(1)] == [0]
    with pytest.raises(ControlError, match="vcpu 1 is powered off"):
        await vm.step(1, vcpu=1)
    with pytest.raises(ControlError, match="there is no vcpu 2: 0 to 1") as refused:
        await vm.step(1, vcpu=2)
    assert refused.value.status == 404


async def test_attributes_are_the_kernels(guest):
    _, vm = guest
    assert "TIMER_IRQ_VTIMER" in (await vm.attributes(0))["TIMER_CTRL"]
    assert await vm.attribute(0, "TIMER_CTRL", "TIMER_IRQ_VTIMER") == await vm.attribute(0, 1, 0) == 27
    for wrong, status, match in (
        (vm.set_attribute(0, "TIMER_CTRL", "TIMER_IRQ_VTIMER", 20), 409, "EBUSY"),
        (vm.set_attribute(0, "TIMER_CTRL", "TIMER_IRQ_VTIMER", 5), 422, "EINVAL"),
        (vm.set_attribute(0, "TIMER_CTRL", "TIMER_IRQ_VTIMER"), 422, "EFAULT"),
        (vm.attribute(0, "TIMER_CTRL", "NOTHING"), 404, "ENXIO"),
        (vm.attribute(0, "NOTHING", 1), 404, "ENXIO"),
        (vm.attribute(5, 1, 1), 404, "no vcpu 5"),
    ):
        with pytest.raises(ControlError, match=match) as refused:
            await wrong
        assert refused.value.status == status


async def test_an_injected_interrupt_reaches_the_controller(guest):
    vm, client = guest
    await client.irq(40, "raise")
    assert [line.name for line in (await client.snapshot()).lines if line.level] == [vm.arch.lines()[0].name]
    await client.irq(40, "lower")
    assert not [line for line in (await client.snapshot()).lines if line.level]
    with pytest.raises(ControlError, match="no interrupt input 256: 0 to 255"):
        await client.irq(256)
