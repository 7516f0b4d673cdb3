"""Any operations in any order: our machine answers as a model of KVM that was written apart from it, and that KVM bears out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.transcript import Case, load, load_departures
from tests.replay.model import Kvm
from tests.replay.model_attributes import HOST_PMU, RAM
from tests.replay.steps import Do

HERE = Path(__file__).parent
DEPARTURES = load_departures(HERE / "departures.toml")
Step = tuple[str, Mapping[str, object]]
COMMON, EDGES = [20, 23, 27, 30, 40, 64], [-1, 0, 15, 16, 21, 31, 32, 41, 63, 95, 96, 255, 256, 991, 992, 1019, 1020]
NUMBER = st.sampled_from(COMMON * 6 + EDGES)
VCPU = st.sampled_from([0, 0, 1, 2])
ADDRESS = st.sampled_from(
    [0x0800_0000] * 4 + [0x080A_0000] * 4 + [0x0800_1000, 0x07FF_0000, 0x07FC_0000, 1 << 40, (1 << 40) - 0x2_0000]
)
POINTER = st.sampled_from(["", "", "", "", "null", "edge"])


def step(name: str, **arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Step]:
    """An operation; an argument that is empty or None is left out."""
    drawn = st.fixed_dictionaries(arguments)
    return drawn.map(lambda given_: (name, {key: value for key, value in given_.items() if value not in ("", None)}))


ATTRIBUTE = {"vcpu": VCPU, "group": st.sampled_from([0, 0, 1, 1, 3]), "attr": st.sampled_from([0, 0, 0, 1, 1, 2, 3, 9])}
SET_PMU = {"vcpu": VCPU, "group": st.just(0), "attr": st.sampled_from([0, 0, 1, 4])}
FILTER = st.sampled_from([[0x11, 1, 0], [0, 0xFFFF, 1], [0xFFFF, 2, 0], [0, 1, 2]])
SET_TIMER = {"vcpu": VCPU, "group": st.just(1), "attr": st.sampled_from([0, 0, 1, 1, 2, 9])}
STEPS = st.one_of(
    step("create_vcpu", vcpu=VCPU),
    step("load_guest"),
    step("create_vgic_v3"),
    step("vgic_set_addr", which=st.sampled_from(["dist", "redist"]), addr=ADDRESS),
    step("vgic_set_nr_irqs", value=NUMBER),
    step("vgic_get_nr_irqs"),
    step("vgic_init"),
    step("irq_line", type=st.sampled_from(["cpu", "ppi", "spi"]), num=NUMBER, vcpu=VCPU, level=st.sampled_from([0, 1])),
    step(
        "vcpu_init",
        vcpu=VCPU,
        features=st.sampled_from([["psci_0_2"], ["psci_0_2", "pmu_v3"], ["psci_0_2", "power_off"], ["psci_0_2", "pmu_v3"]]),
    ),
    step("set_pc", vcpu=VCPU, program=st.just("mmio")),
    step("get_mp_state", vcpu=VCPU),
    step("set_mp_state", vcpu=VCPU, value=st.sampled_from([0, 0, 5, 1])),
    step("has_attr", **ATTRIBUTE),
    step("get_attr", addr=POINTER, **ATTRIBUTE),
    step("set_attr", addr=POINTER, value=NUMBER, **SET_PMU),
    step("set_attr", addr=POINTER, value=NUMBER, **SET_TIMER),
    step("set_attr", addr=POINTER, filter=FILTER, vcpu=VCPU, group=st.just(0), attr=st.just(2)),
    step("set_attr", addr=POINTER, value=st.sampled_from([HOST_PMU, 9]), vcpu=VCPU, group=st.just(0), attr=st.just(3)),
    step("set_attr", addr=POINTER, value=st.sampled_from([RAM, RAM + 1, RAM - 64]), vcpu=VCPU, group=st.just(2), attr=st.just(0)),
    step("run", vcpu=VCPU, immediate_exit=st.sampled_from([None, None, 0, 0, 1])),
    step("run", vcpu=VCPU),
)
BEGINNINGS: list[list[Step]] = [
    [],
    [
        *(("create_vcpu", {"vcpu": number}) for number in (0, 1)),
        ("load_guest", {}),
        *(("vcpu_init", {"vcpu": number, "features": ["psci_0_2"]}) for number in (0, 1)),
        ("set_pc", {"vcpu": 0, "program": "mmio"}),
    ],
    [
        *(("create_vcpu", {"vcpu": number}) for number in (0, 1, 2)),
        ("load_guest", {}),
        *(("vcpu_init", {"vcpu": number, "features": ["psci_0_2", "pmu_v3"]}) for number in (0, 1, 2)),
        *(("set_pc", {"vcpu": number, "program": "mmio"}) for number in (0, 1, 2)),
        ("create_vgic_v3", {}),
        ("vgic_set_addr", {"which": "dist", "addr": 0x0800_0000}),
        ("vgic_set_addr", {"which": "redist", "addr": 0x080A_0000}),
    ],
]
BEGINNINGS += [[*BEGINNINGS[2], ("vgic_init", {})]]
BEGINNINGS += [
    [
        *BEGINNINGS[3],
        ("set_attr", {"vcpu": 0, "group": 0, "attr": 0, "value": 23}),
        ("set_attr", {"vcpu": 0, "group": 0, "attr": 1}),
        ("run", {"vcpu": 0}),
    ]
]


async def carry_out(steps: list[Step]) -> None:
    do, model, done = Do(), Kvm(), list[object]()
    try:
        for name, arguments in steps:
            number = arguments.get("vcpu")
            if number is not None and name not in ("create_vcpu", "irq_line") and number not in model.vcpus:
                continue
            expected = model.answer(name, arguments)
            waits = {"timeout_ms": 1} if name == "run" else {}
            got = await do(name, **arguments, **waits)
            done.append((name, arguments, got))
            assert got == expected, done
            if "thread_state" in got:
                assert isinstance(number, int)
                await do("signal", vcpu=number)
                assert await do("join", vcpu=number) == model.end(model.vcpus[number]), done
    finally:
        await do.transcript.close()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(BEGINNINGS), st.lists(STEPS, min_size=20, max_size=60))
def test_our_machine_answers_as_the_model(beginning: list[Step], steps: list[Step]) -> None:
    asyncio.run(carry_out(beginning + steps))


NUMBERS = {
    "IRQ": 0,
    "INIT": 1,
    "FILTER": 2,
    "SET_PMU": 3,
    "TIMER_IRQ_VTIMER": 0,
    "TIMER_IRQ_PTIMER": 1,
    "IPA": 0,
    "@hostpmu": HOST_PMU,
}
GROUPS = {"PMU_V3_CTRL": 0, "TIMER_CTRL": 1, "PVTIME_CTRL": 2}
MODELLED = {
    "create_vm": set(), "create_vcpu": {"vcpu"}, "load_guest": set(), "create_vgic_v3": set(), "vgic_set_addr": {"which", "addr"},
    "vgic_set_nr_irqs": {"value"}, "vgic_get_nr_irqs": set(), "vgic_init": set(), "irq_line": {"type", "num", "vcpu", "level"},
    "vcpu_init": {"vcpu", "features"}, "set_pc": {"vcpu", "program"}, "get_mp_state": {"vcpu"}, "set_mp_state": {"vcpu", "value"},
    "has_attr": {"vcpu", "group", "attr"}, "get_attr": {"vcpu", "group", "attr", "addr", "value", "filter", "size"},
    "set_attr": {"vcpu", "group", "attr", "value", "addr", "filter", "size"}, "run": {"vcpu", "immediate_exit", "timeout_ms"},
}  # fmt: skip


def modelled(case: Case) -> bool:
    """True when the model knows all that a recorded case does."""
    for one in case.steps:
        known, given_ = MODELLED.get(one.operation), one.arguments
        if known is None or not given_.keys() <= known or given_.get("program", "mmio") != "mmio":
            return False
        if given_.get("addr") in ("ro", "unaligned") or given_.get("type") == 3 or given_.get("value") == 10:
            return False
    return case.id not in DEPARTURES


CASES = [case for case in load(HERE / "kvm_arm64.json") if modelled(case)]


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_model_answers_as_recorded(case: Case) -> None:
    model = Kvm()
    for one in case.steps:
        arguments = {name: NUMBERS.get(str(value), value) for name, value in one.arguments.items() if name != "timeout_ms"}
        if "group" in arguments:
            arguments["group"] = GROUPS.get(str(arguments["group"]), arguments["group"])
        assert one.operation == "create_vm" or model.answer(one.operation, arguments) == one.expected, one


def test_the_model_knows_most_of_them() -> None:
    assert len(CASES) == 726
