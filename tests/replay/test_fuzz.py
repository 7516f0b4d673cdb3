"""Any operations in any order, with any arguments of the right types: an answer each, never another exception."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.errors import NotApplicable
from avmm_arm64 import create_transcript_machine
from avmm_arm64.kvm_operations import OPERATIONS, guest
from avmm_unicorn import create_engine

CPU = st.sampled_from([0, 0, 0, 1, 1, 2])
NUMBER = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 5, 16, 20, 23, 27, 30, 31, 32, 33, 64, 255, 256, 1019, 1020]), st.integers(-(2**31), 2**31)
)
ADDRESS = st.sampled_from([0, 0x0800_0000, 0x0800_1000, 0x0801_0000, 0x080A_0000, 0xFF_FFFF_0000, 1 << 40, (1 << 64) - 0x1_0000])
ARGUMENTS = {
    "vcpu": CPU,
    "id": st.sampled_from([0, 1, 2, 5, 511, 512]),
    "group": st.sampled_from(["PMU_V3_CTRL", "TIMER_CTRL", "PVTIME_CTRL", 0, 1, 2, 3, 5, 99, 2**32 - 1]),
    "attr": st.sampled_from(
        ["IRQ", "INIT", "FILTER", "SET_PMU", "TIMER_IRQ_VTIMER", "TIMER_IRQ_PTIMER", "IPA", 0, 1, 2, 3, 4, 9, 99]
    ),
    "value": st.one_of(st.just("@hostpmu"), st.sampled_from([0x4000_0000, 0x4000_0001, 64, 96, 992]), NUMBER),
    "filter": st.lists(st.integers(0, 70_000), min_size=3, max_size=3),
    "addr": st.one_of(ADDRESS, st.sampled_from(["null", "bad", "kernel", "ro", "unaligned", "edge"])),
    "argp": st.just("null"),
    "fd": st.just("vm"),
    "flags": st.sampled_from([0, 1, 2**31]),
    "size": st.just(8),
    "async": st.booleans(),
    "features": st.lists(st.sampled_from(["psci_0_2", "pmu_v3", "power_off"]), unique=True, max_size=3),
    "target": st.sampled_from([5, 5, 5, 99]),
    "program": st.sampled_from(sorted(guest()[0])),
    "cap": st.sampled_from(["MP_STATE", "MAX_VCPUS", "ARM_SYSTEM_SUSPEND", "ARM_NISV_TO_USER", "TELEPORT"]),
    "num": NUMBER,
    "type": st.sampled_from(["cpu", "spi", "ppi", 3]),
    "level": st.sampled_from([0, 1]),
    "which": st.sampled_from(["dist", "redist"]),
    "offset": st.integers(0, 0x2_0000),
    "test": st.booleans(),
    "ms": st.sampled_from([0, 1, 3]),
    "timeout_ms": st.sampled_from([0, 1, 3]),
    "immediate_exit": st.sampled_from([0, 0, 1, 255]),
    "preset_exit_reason": st.sampled_from([0, 6, 77]),
    "block_signal": st.booleans(),
    "mask": st.just("0x0"),
    "name": st.sampled_from(["wfi_exit_stat", "wfe_exit_stat", "hvc_exit_stat", "halt_wakeup", "exits"]),
    "on": st.just("vm"),
}
NEEDED = {
    "create_vcpu": {"vcpu"}, "get_attr": {"vcpu", "group", "attr"}, "set_attr": {"vcpu", "group", "attr"},
    "has_attr": {"vcpu", "group", "attr"}, "vcpu_init": {"vcpu", "features"}, "set_pc": {"vcpu", "program"},
    "run": {"vcpu", "timeout_ms"}, "join": {"vcpu", "timeout_ms"}, "join_attr": {"timeout_ms"}, "set_mp_state": {"vcpu", "value"},
    "irq_line": {"type", "num", "vcpu", "level"}, "vgic_set_addr": {"which", "addr"}, "vgic_set_nr_irqs": {"value"},
    "vgic_reg": {"group", "offset"}, "sleep": {"ms"}, "check_extension": {"cap"}, "enable_cap": {"cap"},
    "set_signal_mask": {"mask"}, "stat": {"name"}, "set_immediate_exit": {"value"},
}  # fmt: skip


@st.composite
def step(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    name = draw(st.sampled_from(sorted(OPERATIONS)))
    known, needed = OPERATIONS[name].arguments, NEEDED.get(name, set()) | {"vcpu"}
    given_ = [argument for argument in known if argument in needed or draw(st.integers(0, 9)) == 0]
    return name, {argument: draw(ARGUMENTS[argument]) for argument in given_}


BEGINNINGS: list[list[tuple[str, dict[str, object]]]] = [
    [],
    [("create_vcpu", {"vcpu": 0}), ("load_guest", {}), ("vcpu_init", {"vcpu": 0, "features": ["psci_0_2", "pmu_v3"]})],
    [
        *(("create_vcpu", {"vcpu": cpu}) for cpu in (0, 1)),
        ("load_guest", {}),
        *(("vcpu_init", {"vcpu": cpu, "features": ["psci_0_2"]}) for cpu in (0, 1)),
        ("create_vgic_v3", {}),
        ("vgic_set_addr", {"which": "dist", "addr": 0x0800_0000}),
        ("vgic_set_addr", {"which": "redist", "addr": 0x080A_0000}),
        ("vgic_init", {}),
        *(("set_pc", {"vcpu": cpu, "program": "gic_ready_wait"}) for cpu in (0, 1)),
        ("run", {"vcpu": 0, "timeout_ms": 3}),
    ],
]


async def carry_out(steps: list[tuple[str, dict[str, object]]]) -> None:
    transcript = create_transcript_machine(create_engine)
    try:
        for name, arguments in steps:
            try:
                answer = await transcript.perform(name, arguments)
            except NotApplicable:
                continue
            assert answer.keys() & {"ret", "blocked", "started"}, (name, arguments, answer)
    finally:
        await transcript.close()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(BEGINNINGS), st.lists(step(), max_size=20))
def test_every_operation_has_an_answer(
    beginning: list[tuple[str, dict[str, object]]], steps: list[tuple[str, dict[str, object]]]
) -> None:
    asyncio.run(carry_out(beginning + steps))
