"""What was pending before the distributor was switched on is not delivered by that (Linux, vgic_queue_irq_unlock)."""

from __future__ import annotations

from avmm_arm64.kvm_gic_queue import QueueingGic
from tests.replay.steps import ASLEEP, Do, failed, make, refused, stored


async def interrupted(do: Do, vcpu: int) -> None:
    await do("signal", vcpu=vcpu)
    assert await do("join", vcpu=vcpu) == failed("EINTR", "INTR")


def gic(do: Do) -> QueueingGic:
    found = do.machine.gic.gic
    assert found is not None
    return found


async def overlook(do: Do) -> None:
    """A private interrupt is high when the guest switches the distributor on, and nothing comes of it."""
    await make(do, "gic_ready_wait", gic=True)
    await do("irq_line", type="ppi", vcpu=0, num=20, level=1)
    assert await do("run", vcpu=0) == stored(0, 0x600D)
    assert await do("run", vcpu=0, timeout_ms=10) == ASLEEP


async def test_a_line_must_change_first(do: Do) -> None:
    await overlook(do)
    await do("irq_line", type="ppi", vcpu=0, num=20, level=1)
    assert await do("join", vcpu=0, timeout_ms=10) == ASLEEP, "it was high"
    await do("irq_line", type="ppi", vcpu=0, num=20, level=0)
    assert await do("join", vcpu=0, timeout_ms=10) == ASLEEP
    await do("irq_line", type="ppi", vcpu=0, num=20, level=1)
    assert await do("join", vcpu=0) == stored(0x80, 20)


async def test_or_the_guest_enables_it_again(do: Do) -> None:
    await overlook(do)
    gic(do).redistributors_device.write(0x1_0100, 4, 1 << 21)
    assert await do("join", vcpu=0, timeout_ms=10) == ASLEEP, "another one"
    gic(do).redistributors_device.write(0x1_0100, 4, 1 << 20)
    assert await do("join", vcpu=0) == stored(0x80, 20)


async def test_as_it_does_when_it_begins_anew(do: Do) -> None:
    await overlook(do)
    await interrupted(do, 0)
    await do("set_pc", vcpu=0, program="gic_ready_wait")
    assert [await do("run", vcpu=0) for _ in range(2)] == [stored(0, 0x600D), stored(0x80, 20)]


async def test_where_it_is_on_already_nothing_is_overlooked(do: Do) -> None:
    await make(do, "gic_ready_wait", gic=True, vcpus=2)
    await do("irq_line", type="ppi", vcpu=1, num=20, level=1)
    assert await do("run", vcpu=0) == stored(0, 0x600D)
    assert [await do("run", vcpu=1) for _ in range(2)] == [stored(0, 0x600D), stored(0x80, 20)]


async def test_one_that_was_sent_is_overlooked_too_and_then_comes_once(do: Do) -> None:
    await make(do, "gic_ready_wait", gic=True, vcpus=2)
    await do("set_pc", vcpu=0, program="sgi1")
    assert await do("run", vcpu=0) == stored(0, 1)
    assert await do("run", vcpu=1) == stored(0, 0x600D)
    assert await do("run", vcpu=1, timeout_ms=10) == ASLEEP
    assert gic(do).redistributors_device.read(0x3_0200, 4) == 1 << 5, "the guest sees that it is pending"
    assert await do("vgic_reg", group=5, vcpu=1, offset=0x1_0200) == refused("EBUSY")
    await interrupted(do, 1)
    assert await do("vgic_reg", group=5, vcpu=1, offset=0x1_0200) == {"ret": 0, "value": 1 << 5}
    assert await do("run", vcpu=1) == stored(0x84, 0x3FF), "the wait ended with the signal"
    await do("run_async", vcpu=1)
    assert await do("run", vcpu=0, immediate_exit=1) == failed("EINTR", "MMIO"), "past the store"
    await do("set_pc", vcpu=0, program="sgi1")
    assert await do("run", vcpu=0, immediate_exit=0) == stored(0, 1)
    assert await do("join", vcpu=1) == stored(0x80, 5)
    assert await do("run", vcpu=1, timeout_ms=10) == ASLEEP
    gic(do).redistributors_device.write(0x3_0100, 4, 1 << 5)
    assert await do("join", vcpu=1, timeout_ms=10) == ASLEEP, "it came once and for all"


async def test_a_reset_of_the_vcpu_leaves_its_interface_as_it_is(do: Do) -> None:
    await make(do, "gic_ready_wait", gic=True)
    assert await do("run", vcpu=0) == stored(0, 0x600D)
    assert await do("run", vcpu=0, timeout_ms=10) == ASLEEP
    await interrupted(do, 0)
    await do("vcpu_init", vcpu=0, features=["psci_0_2"])
    await do("set_pc", vcpu=0, program="wfi")
    assert await do("run", vcpu=0, timeout_ms=10) == ASLEEP
    await do("irq_line", type="spi", vcpu=0, num=40, level=1)
    assert await do("join", vcpu=0) == stored(0, 1), "enabled, and its priority lets it through"


async def test_what_the_guest_takes_back_is_gone(do: Do) -> None:
    await make(do, "gic_ready_wait", gic=True)
    gic(do).redistributors_device.write(0x1_0200, 4, 1 << 21)
    assert await do("run", vcpu=0) == stored(0, 0x600D)
    assert await do("run", vcpu=0, timeout_ms=10) == ASLEEP
    gic(do).redistributors_device.write(0x1_0280, 4, 1 << 21)
    assert gic(do).redistributors_device.read(0x1_0280, 4) == 0
    gic(do).redistributors_device.write(0x1_0100, 4, 1 << 21)
    assert await do("join", vcpu=0, timeout_ms=10) == ASLEEP


async def test_shared_ones_are_overlooked_until_an_edge(do: Do) -> None:
    await make(do, "gic_ready_wait", gic=True)
    distributor = gic(do).distributor_device
    distributor.write(0x104, 4, 1 << 8)
    await do("irq_line", type="spi", vcpu=0, num=40, level=1)
    distributor.write(0, 4, 2)
    assert await do("vgic_reg", group=1, offset=0x204) == {"ret": 0, "value": 1 << 8}
    assert gic(do).distributor.spis.latch == 0
    await do("irq_line", type="spi", vcpu=0, num=40, level=0)
    assert gic(do).distributor.spis.latch == 0
    await do("irq_line", type="spi", vcpu=0, num=40, level=1)
    assert gic(do).distributor.spis.latch == 1 << 8
    distributor.write(0, 4, 0)
    distributor.write(0, 4, 2)
    assert gic(do).distributor.spis.latch == 0, "switched off and on"
    distributor.write(0x084, 4, 0)
    assert gic(do).distributor.spis.latch == 1 << 8, "grouped anew"
