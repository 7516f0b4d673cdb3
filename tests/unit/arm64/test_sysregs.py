"""The table of system registers: encodings, identification, and registers that do not exist."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avmm.plugin import ExitReason, Undefined
from avmm_arm64.sysregs import ABSENT
from tests.unit.arm64.fakes import EL0, EL1H, FakeMachine

# Arm ARM D12 and D13, IHI 0069 12.2: op0, op1, CRn, CRm, op2.
ENCODINGS = {
    "MPIDR_EL1": (3, 0, 0, 0, 5),
    "ID_AA64PFR0_EL1": (3, 0, 0, 4, 0),
    "ID_AA64DFR0_EL1": (3, 0, 0, 5, 0),
    "ICC_PMR_EL1": (3, 0, 4, 6, 0),
    "ICC_IAR0_EL1": (3, 0, 12, 8, 0),
    "ICC_EOIR0_EL1": (3, 0, 12, 8, 1),
    "ICC_HPPIR0_EL1": (3, 0, 12, 8, 2),
    "ICC_BPR0_EL1": (3, 0, 12, 8, 3),
    "ICC_AP0R0_EL1": (3, 0, 12, 8, 4),
    "ICC_AP1R0_EL1": (3, 0, 12, 9, 0),
    "ICC_DIR_EL1": (3, 0, 12, 11, 1),
    "ICC_RPR_EL1": (3, 0, 12, 11, 3),
    "ICC_SGI1R_EL1": (3, 0, 12, 11, 5),
    "ICC_ASGI1R_EL1": (3, 0, 12, 11, 6),
    "ICC_SGI0R_EL1": (3, 0, 12, 11, 7),
    "ICC_IAR1_EL1": (3, 0, 12, 12, 0),
    "ICC_EOIR1_EL1": (3, 0, 12, 12, 1),
    "ICC_HPPIR1_EL1": (3, 0, 12, 12, 2),
    "ICC_BPR1_EL1": (3, 0, 12, 12, 3),
    "ICC_CTLR_EL1": (3, 0, 12, 12, 4),
    "ICC_SRE_EL1": (3, 0, 12, 12, 5),
    "ICC_IGRPEN0_EL1": (3, 0, 12, 12, 6),
    "ICC_IGRPEN1_EL1": (3, 0, 12, 12, 7),
    "CNTFRQ_EL0": (3, 3, 14, 0, 0),
    "CNTKCTL_EL1": (3, 0, 14, 1, 0),
    "CNTP_TVAL_EL0": (3, 3, 14, 2, 0),
    "CNTP_CTL_EL0": (3, 3, 14, 2, 1),
    "CNTP_CVAL_EL0": (3, 3, 14, 2, 2),
    "CNTV_TVAL_EL0": (3, 3, 14, 3, 0),
    "CNTV_CTL_EL0": (3, 3, 14, 3, 1),
    "CNTV_CVAL_EL0": (3, 3, 14, 3, 2),
}
READ_ONLY = {"ICC_IAR0_EL1", "ICC_IAR1_EL1", "ICC_HPPIR0_EL1", "ICC_HPPIR1_EL1", "ICC_RPR_EL1", "CNTFRQ_EL0"}
WRITE_ONLY = {"ICC_EOIR0_EL1", "ICC_EOIR1_EL1", "ICC_DIR_EL1", "ICC_SGI1R_EL1", "ICC_ASGI1R_EL1", "ICC_SGI0R_EL1"}


# The PMU's: Arm ARM D13.4.
PMU = {
    "PMCR_EL0": (3, 3, 9, 12, 0),
    "PMCNTENSET_EL0": (3, 3, 9, 12, 1),
    "PMCNTENCLR_EL0": (3, 3, 9, 12, 2),
    "PMOVSCLR_EL0": (3, 3, 9, 12, 3),
    "PMSWINC_EL0": (3, 3, 9, 12, 4),
    "PMSELR_EL0": (3, 3, 9, 12, 5),
    "PMCEID0_EL0": (3, 3, 9, 12, 6),
    "PMCEID1_EL0": (3, 3, 9, 12, 7),
    "PMCCNTR_EL0": (3, 3, 9, 13, 0),
    "PMXEVTYPER_EL0": (3, 3, 9, 13, 1),
    "PMXEVCNTR_EL0": (3, 3, 9, 13, 2),
    "PMUSERENR_EL0": (3, 3, 9, 14, 0),
    "PMINTENSET_EL1": (3, 0, 9, 14, 1),
    "PMINTENCLR_EL1": (3, 0, 9, 14, 2),
    "PMMIR_EL1": (3, 0, 9, 14, 6),
    "PMOVSSET_EL0": (3, 3, 9, 14, 3),
    "PMCCFILTR_EL0": (3, 3, 14, 15, 7),
    **{f"PMEVCNTR{n}_EL0": (3, 3, 14, 8 + n // 8, n % 8) for n in range(31)},
    **{f"PMEVTYPER{n}_EL0": (3, 3, 14, 12 + n // 8, n % 8) for n in range(31)},
}
READ_ONLY |= {"PMCEID0_EL0", "PMCEID1_EL0", "PMMIR_EL1"}
WRITE_ONLY |= {"PMSWINC_EL0"}


def test_the_table(machine: FakeMachine) -> None:
    table = {register.name: register.encoding for register in machine.parts[0].system_registers}
    assert table == ENCODINGS | ABSENT | PMU
    assert len(set(table.values())) == len(table)
    assert {counter.name: counter.encoding for counter in machine.parts[0].counters} == {
        "CNTPCT_EL0": (3, 3, 14, 0, 1),
        "CNTVCT_EL0": (3, 3, 14, 0, 2),
    }


def test_read_only_and_write_only(machine: FakeMachine) -> None:
    for register in machine.parts[0].system_registers:
        if register.constant is None:
            assert (register.write is None) == (register.name in READ_ONLY)
            assert (register.read is None) == (register.name in WRITE_ONLY)


@pytest.mark.parametrize(("index", "mpidr"), [(0, 1 << 31), (15, 1 << 31 | 15), (16, 1 << 31 | 0x100), (63, 1 << 31 | 0x30F)])
def test_mpidr_counts_in_clusters_of_sixteen(index: int, mpidr: int) -> None:
    assert FakeMachine(vcpus=64).mrs(index, "MPIDR_EL1") == mpidr


def test_identification(machine: FakeMachine) -> None:
    pfr0 = machine.mrs(0, "ID_AA64PFR0_EL1")
    assert pfr0 >> 24 & 0xF == 1, "GIC system registers"
    assert pfr0 & 0xFFFF == 0x11, "no EL3, no EL2, AArch64 only"
    assert machine.mrs(0, "ID_AA64DFR0_EL1") >> 8 & 0xF == 6, "PMUv3p5"
    assert machine.mrs(0, "ICC_SRE_EL1") == 7


def test_sre_ignores_writes(machine: FakeMachine) -> None:
    machine.msr(0, "ICC_SRE_EL1", 0)
    assert machine.mrs(0, "ICC_SRE_EL1") == 7


def test_without_a_pmu() -> None:
    machine = FakeMachine(pmu=False)
    table = {register.name: register.encoding for register in machine.parts[0].system_registers}
    assert table == ENCODINGS | ABSENT | PMU, "the engine's own are hidden"
    assert machine.mrs(0, "ID_AA64DFR0_EL1") >> 8 & 0xF == 0


@pytest.mark.parametrize("name", [*ABSENT, *PMU])
def test_absent_registers_are_undefined_and_counted_by_name(name: str) -> None:
    machine = FakeMachine(pmu=False)
    with pytest.raises(Undefined):
        machine.mrs(0, name)
    with pytest.raises(Undefined):
        machine.msr(0, name, 0)
    assert [kind for kind, _ in machine.vm.faults] == ["sysreg"] * 2
    assert all(name in detail for _, detail in machine.vm.faults)


def test_accesses_are_counted(machine: FakeMachine) -> None:
    machine.mrs(0, "ICC_PMR_EL1")
    machine.msr(0, "ICC_PMR_EL1", 0)
    assert machine.parts[0].exits_by_reason[ExitReason.SYSTEM_REGISTER] == 2
    assert machine.parts[1].exits_by_reason[ExitReason.SYSTEM_REGISTER] == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from(sorted(ENCODINGS | ABSENT | PMU)),
            st.one_of(st.none(), st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**64 - 1])),
            st.sampled_from([EL0, EL1H]),
            st.integers(0, 10_000),
        ),
        max_size=40,
    )
)
def test_no_access_raises_anything_but_undefined(
    machine: FakeMachine, accesses: list[tuple[int, str, int | None, int, int]]
) -> None:
    for index, name, value, pstate, pass_ns in accesses:
        machine.vm.clock.advance(pass_ns)
        machine.engines[index].registers["pstate"] = pstate
        register = machine.register(index, name)
        try:
            if value is None and register.read is not None:
                assert 0 <= register.read() < 1 << 64
            elif value is not None and register.write is not None:
                register.write(value)
        except Undefined:
            pass
    for index in (0, 1):
        machine.parts[index].flush_hwstate()
        assert machine.engines[index].irq_line == machine.arch.gic.interfaces[index].irq
