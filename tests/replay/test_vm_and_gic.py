"""What KVM answers about a VM and its GIC beyond the recorded transcripts, from its documents."""

from __future__ import annotations

import pytest

from tests.replay.steps import Answer, Do, failed, make, refused, stored


class TestGic:
    async def test_vcpus_cannot_come_after_it_is_initialised(self, do: Do) -> None:
        await make(do, "mmio", gic=True)
        assert await do("create_vcpu", vcpu=1) == refused("EBUSY")

    async def test_ids_are_unique_and_bounded(self, do: Do) -> None:
        assert await do("create_vcpu", vcpu=0, id=511) == {"ret": 0}
        assert await do("create_vcpu", vcpu=1, id=511) == refused("EEXIST")
        assert await do("create_vcpu", vcpu=1, id=512) == refused("EINVAL")

    async def test_an_address_is_set_once_and_aligned(self, do: Do) -> None:
        await do("create_vgic_v3")
        assert await do("vgic_set_addr", which="dist", addr=0x0800_1000) == refused("EINVAL")
        assert await do("vgic_set_addr", which="dist", addr=1 << 40) == refused("E2BIG")
        assert await do("vgic_set_addr", which="dist", addr=0x0800_0000) == {"ret": 0}
        assert await do("vgic_set_addr", which="dist", addr=0x0801_0000) == refused("EEXIST")

    @pytest.mark.parametrize("address", [0x0800_0000, 0x07FF_0000, 0x07FE_0000 + 0x1_0000])
    async def test_redistributors_may_not_overlap_the_distributor(self, do: Do, address: int) -> None:
        await make(do, "mmio")
        await do("create_vgic_v3")
        assert await do("vgic_set_addr", which="dist", addr=0x0800_0000) == {"ret": 0}
        assert await do("vgic_set_addr", which="redist", addr=address) == refused("EINVAL")
        assert await do("vgic_set_addr", which="redist", addr=0x07FE_0000) == {"ret": 0}, "behind it"
        assert await do("vgic_set_addr", which="redist", addr=0x07FE_0000) == refused("EEXIST")

    async def test_redistributors_need_room_for_all_vcpus(self, do: Do) -> None:
        await do("create_vcpu", vcpu=0)
        await do("create_vgic_v3")
        assert await do("vgic_set_addr", which="redist", addr=1 << 40) == refused("E2BIG")
        assert await do("vgic_set_addr", which="redist", addr=(1 << 40) - 0x1_0000) == refused("E2BIG"), "its end is"
        assert await do("vgic_set_addr", which="redist", addr=(1 << 40) - 0x2_0000) == {"ret": 0}
        assert await do("create_vcpu", vcpu=1) == {"ret": 0}, "the ones there are fit"
        assert await do("create_vcpu", vcpu=2) == refused("EINVAL")

    @pytest.mark.parametrize(("where", "fits"), [(0x1_0000, True), (0, False), (-0x1_0000, False), (-0x2_0000, True)])
    async def test_a_vcpu_that_is_being_made_takes_no_room_yet(self, do: Do, where: int, fits: bool) -> None:
        await do("create_vgic_v3")
        await do("vgic_set_addr", which="redist", addr=0x0800_0000 + where)
        assert await do("vgic_set_addr", which="dist", addr=0x0800_0000) == {"ret": 0}
        assert await do("create_vcpu", vcpu=0) == {"ret": 0}
        assert await do("create_vcpu", vcpu=1) == ({"ret": 0} if fits else refused("EINVAL"))

    async def test_places_that_overlap_fail_the_first_run_and_end_the_vm(self, do: Do) -> None:
        await make(do, "mmio")
        await do("create_vgic_v3")
        await do("vgic_set_addr", which="redist", addr=0x0800_0000)
        await do("vgic_set_addr", which="dist", addr=0x0800_0000)
        assert await do("run", vcpu=0) == failed("EINVAL")
        assert await do("run", vcpu=0) == failed("EIO")
        assert await do("get_attr", vcpu=0, group="TIMER_CTRL", attr="TIMER_IRQ_VTIMER") == refused("EIO")

    @pytest.mark.parametrize("interrupts", [64, 256, 992])
    async def test_it_has_as_many_interrupts_as_were_asked_for(self, do: Do, interrupts: int) -> None:
        await make(do, "gic_ready_wait")
        await do("create_vgic_v3")
        await do("vgic_set_addr", which="dist", addr=0x0800_0000)
        await do("vgic_set_addr", which="redist", addr=0x080A_0000)
        await do("vgic_set_nr_irqs", value=interrupts)
        await do("vgic_init")
        assert await do("vgic_reg", group=1, offset=4) == {"ret": 0, "value": 9 << 19 | interrupts // 32 - 1}
        assert await do("run", vcpu=0) == stored(0, 0x600D)
        assert await do("irq_line", type="spi", vcpu=0, num=interrupts - 1, level=1) == {"ret": 0}
        assert await do("irq_line", type="spi", vcpu=0, num=interrupts, level=1) == refused("EINVAL")
        assert await do("run", vcpu=0) == stored(0x80, interrupts - 1)

    async def test_its_operations_need_it(self, do: Do) -> None:
        assert await do("vgic_init") == refused("EBADF")

    async def test_it_cannot_be_made_while_a_vcpu_runs(self, do: Do) -> None:
        await make(do, "spin", gic=True)
        await do("run_async", vcpu=0)
        assert await do("create_vgic_v3") == refused("EBUSY"), "before it is EEXIST"
        await do("signal", vcpu=0)
        await do("join", vcpu=0)
        assert await do("create_vgic_v3") == refused("EEXIST")

    async def test_its_registers_are_as_kvms_user_reads_them(self, do: Do) -> None:
        await make(do, "mmio", gic=True, vcpus=2)
        await do("irq_line", type="spi", vcpu=0, num=33, level=1)
        await do("irq_line", type="ppi", vcpu=1, num=20, level=1)
        distributor = {
            0x0: 0x50, 0x8: 0x4B00_343B, 0xC: 0, 0x10: 2**32 - 1, 0x80: 0, 0x84: 2**32 - 1, 0x100: 0, 0x104: 0, 0x204: 2,
            0x284: 0, 0x304: 0, 0x420: 0, 0x800: 0, 0xC00: 0, 0xC08: 0xAAAA_AAAA, 0xD04: 0, 0x6000: 0, 0x6100: 0, 0xFFE8: 0x3B,
        }  # fmt: skip
        redistributor = {
            0x0: 6, 0x4: 0x4B00_043B, 0x8: 0x110, 0xC: 1, 0x14: 0, 0x70: 0, 0x78: 0x580, 0x7C: 0, 0xA0: 0, 0xB4: 0, 0xC0: 0,
            0xFFE8: 0x3B, 0x1_0080: 2**32 - 1, 0x1_0100: 0xFFFF,
            0x1_0200: 0, 0x1_0280: 0, 0x1_0400: 0, 0x1_0C00: 0xAAAA_AAAA, 0x1_0C04: 0, 0x1_0D00: 0, 0x1_0E00: 0,
        }  # fmt: skip
        for group, registers in ((1, distributor), (5, redistributor)):
            got = {offset: await do("vgic_reg", group=group, vcpu=1, offset=offset) for offset in registers}
            assert got == {offset: {"ret": 0, "value": value} for offset, value in registers.items()}
        for group, offset in (
            (1, 0x14),
            (1, 0x2),
            (1, 0x120),
            (1, 0x6900),
            (1, 0x2_0000),
            (5, 0x20),
            (5, 0x1_0104),
            (5, 0x1_0420),
        ):
            assert await do("vgic_reg", group=group, vcpu=1, offset=offset) == refused("ENXIO")
        assert await do("vgic_reg", group=1, vcpu=2, offset=0) == refused("EINVAL")
        await do("run_async", vcpu=0)
        assert await do("vgic_reg", group=1, offset=0) == refused("EBUSY")


class TestVmAttributes:
    async def test_there_is_one_and_a_number_does_not_do_for_it(self, do: Do) -> None:
        await do("create_vcpu", vcpu=0)
        where = {"vcpu": 0, "fd": "vm", "group": 0, "attr": 0}
        assert await do("has_attr", **where) == {"ret": 0}
        assert await do("get_attr", **where) == refused("EINVAL")
        assert await do("set_attr", value=23, **where) == refused("EINVAL")
        assert await do("set_attr", value=23, addr="bad", **where) == refused("EFAULT")
        for other in ({"group": 0, "attr": 1}, {"group": 1, "attr": 0}):
            assert await do("has_attr", **{**where, **other}) == refused("ENXIO")
            assert await do("set_attr", value=23, **{**where, **other}) == refused("ENXIO")
        assert await do("has_attr", argp="null", **where) == refused("EFAULT")
        assert await do("get_attr", argp="null", **where) == refused("EINVAL")


class TestCapabilities:
    @pytest.mark.parametrize(
        ("capability", "answer"),
        [("ARM_SYSTEM_SUSPEND", {"ret": 0}), ("ARM_NISV_TO_USER", {"ret": 0}), ("ARM_PMU_V3", refused("EINVAL"))],
    )
    async def test_what_can_be_enabled(self, do: Do, capability: str, answer: Answer) -> None:
        assert await do("enable_cap", cap=capability) == answer

    async def test_one_with_a_number_that_is_not_known_is_not_there(self, do: Do) -> None:
        assert await do("check_extension", cap="HYPERV", num=44) == {"ret": 0}
        assert await do("enable_cap", cap="HYPERV", num=44) == refused("EINVAL")
