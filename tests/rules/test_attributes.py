"""Device attributes of vCPUs: the PMU's interrupt and start, and the timers' interrupts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.replay.steps import Answer, Do, add_gic, failed, make, refused, stored

DONE: Answer = {"ret": 0}


@pytest.fixture
async def do() -> AsyncIterator[Do]:
    do = Do()
    yield do
    await do.transcript.close()


async def set_irq(do: Do, vcpu: int, number: int | None) -> Answer:
    """Set the PMU's interrupt; None is a pointer that leads nowhere."""
    value = {"addr": "null"} if number is None else {"value": number}
    return await do("set_attr", vcpu=vcpu, group="PMU_V3_CTRL", attr="IRQ", **value)


async def get_irq(do: Do, vcpu: int) -> Answer:
    return await do("get_attr", vcpu=vcpu, group="PMU_V3_CTRL", attr="IRQ")


async def start_pmu(do: Do, vcpu: int = 0) -> Answer:
    return await do("set_attr", vcpu=vcpu, group="PMU_V3_CTRL", attr="INIT")


async def set_timer(do: Do, vcpu: int, timer: str, number: int) -> Answer:
    return await do("set_attr", vcpu=vcpu, group="TIMER_CTRL", attr=f"TIMER_IRQ_{timer}", value=number)


async def timers(do: Do, vcpu: int) -> list[object]:
    names = ("TIMER_IRQ_VTIMER", "TIMER_IRQ_PTIMER")
    return [(await do("get_attr", vcpu=vcpu, group="TIMER_CTRL", attr=name))["value"] for name in names]


async def test_r64_the_interrupt_is_a_number(do: Do) -> None:
    await make(do, "mmio", "pmu_v3", gic=True)
    assert await set_irq(do, 0, None) == refused("EFAULT")
    assert await set_irq(do, 0, 23) == DONE
    assert await get_irq(do, 0) == {"ret": 0, "value": 23}


@pytest.mark.parametrize(("first", "second"), [(23, 23), (23, 22), (23, 40), (40, 40), (40, 41), (40, 23)])
async def test_r65_it_is_set_once(do: Do, first: int, second: int) -> None:
    await make(do, "mmio", "pmu_v3", gic=True)
    assert await set_irq(do, 0, first) == DONE
    assert await set_irq(do, 0, second) == refused("EBUSY")
    assert await get_irq(do, 0) == {"ret": 0, "value": first}


async def test_r66_it_cannot_be_read_before(do: Do) -> None:
    await make(do, "mmio", "pmu_v3", gic=True)
    assert await get_irq(do, 0) == refused("ENXIO")


async def test_r67_without_pmu_there_is_none(do: Do) -> None:
    await make(do, "mmio", gic=True)
    assert [await set_irq(do, 0, 23), await get_irq(do, 0), await start_pmu(do)] == [refused("ENODEV")] * 3


@pytest.mark.parametrize("number", [-1, 0, 15, 1020, 1023, 8192])
async def test_r68_not_every_number_is_one_of_a_pmus_interrupt(do: Do, number: int) -> None:
    await make(do, "mmio", "pmu_v3", gic=True)
    assert await set_irq(do, 0, number) == refused("EINVAL")


async def test_r68_nor_is_any_without_an_interrupt_controller(do: Do) -> None:
    await make(do, "mmio", "pmu_v3")
    assert [await set_irq(do, 0, 23), await get_irq(do, 0)] == [refused("EINVAL")] * 2


@pytest.mark.parametrize(
    ("first", "second", "goes"),
    [(23, 23, True), (23, 22, False), (23, 40, False), (40, 41, True), (40, 40, False), (40, 23, False)],
)
async def test_r69_the_vcpus_interrupts_go_together(do: Do, first: int, second: int, goes: bool) -> None:
    await make(do, "mmio", "pmu_v3", gic=True, vcpus=2)
    assert await set_irq(do, 0, first) == DONE
    assert await set_irq(do, 1, second) == (DONE if goes else refused("EINVAL"))


async def test_r70_init_needs_an_interrupt_and_is_done_once(do: Do) -> None:
    await make(do, "mmio", "pmu_v3", gic=True)
    assert await start_pmu(do) == refused("ENXIO")
    await set_irq(do, 0, 23)
    assert [await start_pmu(do), await start_pmu(do)] == [DONE, refused("EBUSY")]


async def test_r71_init_needs_the_controller_initialised(do: Do) -> None:
    await make(do, "mmio", "pmu_v3")
    await do("create_vgic_v3")
    await set_irq(do, 0, 23)
    assert await start_pmu(do) == refused("ENODEV")
    assert await do("vgic_init") == DONE
    assert await start_pmu(do) == DONE


async def test_r72_without_controller_whoever_runs_the_vcpu_is_told_of_the_line(do: Do) -> None:
    await make(do, "pmu_nogic", "pmu_v3")
    assert await start_pmu(do) == DONE
    assert await do("run", vcpu=0) == failed("EINTR", "INTR", level=4)


async def test_r73_each_timer_has_an_attribute(do: Do) -> None:
    await make(do, "mmio", gic=True)
    for attribute in ("TIMER_IRQ_VTIMER", "TIMER_IRQ_PTIMER"):
        assert await do("has_attr", vcpu=0, group="TIMER_CTRL", attr=attribute) == DONE
    assert await do("has_attr", vcpu=0, group="TIMER_CTRL", attr=9) == refused("ENXIO")
    await set_timer(do, 0, "VTIMER", 20)
    assert await timers(do, 0) == [20, 30]


@pytest.mark.parametrize("timer", ["VTIMER", "PTIMER"])
@pytest.mark.parametrize(("number", "answer"), [(-1, "EINVAL"), (0, "EINVAL"), (15, "EINVAL"), (32, "EINVAL"), (1019, "EINVAL")])
async def test_r74_not_every_number_is_one_of_a_timers_interrupt(do: Do, timer: str, number: int, answer: str) -> None:
    await make(do, "mmio", gic=True)
    assert await set_timer(do, 0, timer, number) == refused(answer)
    assert await timers(do, 0) == [27, 30]


@pytest.mark.parametrize("asked", [0, 1])
async def test_r75_once_a_vcpu_has_run_it_is_too_late(do: Do, asked: int) -> None:
    await make(do, "mmio", gic=True, vcpus=2)
    assert await do("run", vcpu=0) == stored(0, 1)
    assert await set_timer(do, asked, "VTIMER", 20) == refused("EBUSY")
    assert [await timers(do, 0), await timers(do, 1)] == [[27, 30]] * 2


async def test_r76_all_private_interrupts_will_do(do: Do) -> None:
    await make(do, "mmio", gic=True)
    for number in range(16, 32):
        assert await set_timer(do, 0, "PTIMER", number) == DONE
        assert await timers(do, 0) == [27, number]


async def test_r77_until_then_they_are_27_and_30(do: Do) -> None:
    await do("create_vcpu", vcpu=0)
    assert await timers(do, 0) == [27, 30]


async def test_r78_with_one_for_both_no_vcpu_runs_however_often_it_tries(do: Do) -> None:
    await make(do, "mmio", gic=True, vcpus=2)
    assert [await set_timer(do, 0, timer, 20) for timer in ("VTIMER", "PTIMER")] == [DONE] * 2
    for _ in range(2):
        assert [await do("run", vcpu=vcpu) for vcpu in (0, 1)] == [failed("EINVAL")] * 2


async def test_r79_setting_one_sets_it_for_the_vcpus_there_are(do: Do) -> None:
    await make(do, "mmio")
    await do("create_vgic_v3")
    await set_timer(do, 0, "VTIMER", 20)
    await do("create_vcpu", vcpu=1)
    assert [await timers(do, 0), await timers(do, 1)] == [[20, 30], [27, 30]]
    await set_timer(do, 1, "VTIMER", 21)
    assert [await timers(do, 0), await timers(do, 1)] == [[21, 30]] * 2


async def test_r80_set_in_good_time_it_is_what_every_guest_gets(do: Do) -> None:
    await make(do, "vtimer", vcpus=2)
    await add_gic(do)
    await set_timer(do, 1, "VTIMER", 20)
    assert [await do("run", vcpu=vcpu) for vcpu in (0, 1)] == [stored(0x80, 20)] * 2
