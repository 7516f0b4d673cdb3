"""PSCI (Arm DEN 0022) and the SMC Calling Convention (Arm DEN 0028), as KVM answers them."""

from __future__ import annotations

import pytest

from avmm.plugin import SystemEvent
from avmm_arm64.requests import ArmRequest
from tests.unit.arm64.fakes import FakeMachine
from tests.unit.arm64.firmware_calls import (
    AFFINITY_INFO,
    ALREADY_ON,
    CONTEXT,
    CPU_OFF,
    CPU_ON,
    CPU_SUSPEND,
    ENTRY,
    FEATURES,
    INTERNAL_FAILURE,
    INVALID_PARAMETERS,
    MIGRATE_INFO_TYPE,
    NOT_SUPPORTED,
    SMC64,
    SUCCESS,
    SYSTEM_OFF,
    SYSTEM_RESET,
    SYSTEM_RESET2,
    U64,
    VERSION,
    Call,
    call,
)


class TestSmccc:
    def test_version(self, machine: FakeMachine) -> None:
        assert call(machine, 0x8000_0000) == 0x1_0001

    @pytest.mark.parametrize(("function", "answer"), [(0x8000_0000, 0), (0x8000_0001, 0), (0x8000_8000, -1), (0, -1)])
    def test_arch_features(self, machine: FakeMachine, function: int, answer: int) -> None:
        assert call(machine, 0x8000_0001, function) == answer

    @pytest.mark.parametrize("function", [0, 0x8400_0005, 0x8400_0007, 0x8400_00FF, 0xC400_0000, 0xC600_0000, 0xFFFF_FFFF])
    def test_unknown_functions_are_not_supported(self, machine: FakeMachine, function: int) -> None:
        assert call(machine, function) == NOT_SUPPORTED

    def test_the_upper_half_of_the_function_is_ignored(self, machine: FakeMachine) -> None:
        assert call(machine, 0xDEAD_BEEF << 32 | VERSION) == 0x1_0001

    def test_a_nonzero_immediate_is_reserved(self, machine: FakeMachine) -> None:
        registers = Call(VERSION, 1, 2, 3, immediate=1)
        machine.parts[0].hypercall(registers)
        assert registers.registers[:4] == [U64, 1, 2, 3]

    def test_smc_reaches_the_same(self, machine: FakeMachine) -> None:
        assert call(machine, VERSION, secure=True) == 0x1_0001

    def test_results_are_four_registers(self, machine: FakeMachine) -> None:
        registers = Call(VERSION, 1, 2, 3, 4)
        machine.parts[0].hypercall(registers)
        assert registers.registers[:5] == [0x1_0001, 0, 0, 0, 4]

    def test_calls_are_counted(self, machine: FakeMachine) -> None:
        call(machine, VERSION)
        assert sum(machine.parts[0].exits_by_reason) == 1


class TestVersionAndFeatures:
    def test_version_is_1_1(self, machine: FakeMachine) -> None:
        assert call(machine, VERSION) == 1 << 16 | 1

    @pytest.mark.parametrize(
        "function",
        [
            *(VERSION, CPU_SUSPEND, CPU_OFF, CPU_ON, AFFINITY_INFO, MIGRATE_INFO_TYPE, SYSTEM_OFF, SYSTEM_RESET, FEATURES),
            *(CPU_SUSPEND | SMC64, CPU_ON | SMC64, AFFINITY_INFO | SMC64, SYSTEM_RESET2, SYSTEM_RESET2 | SMC64, 0x8000_0000),
        ],
    )
    def test_what_is_there(self, machine: FakeMachine, function: int) -> None:
        assert call(machine, FEATURES, function) == SUCCESS

    @pytest.mark.parametrize("function", [VERSION | SMC64, CPU_OFF | SMC64, SYSTEM_OFF | SMC64, 0x8400_0005, 0x8400_000E, 0])
    def test_what_is_not(self, machine: FakeMachine, function: int) -> None:
        assert call(machine, FEATURES, function) == NOT_SUPPORTED
        assert call(machine, function) == NOT_SUPPORTED
        assert machine.vm.events == []

    def test_no_trusted_os(self, machine: FakeMachine) -> None:
        assert call(machine, MIGRATE_INFO_TYPE) == 2


class TestCpuOn:
    @pytest.mark.parametrize("function", [CPU_ON, CPU_ON | SMC64])
    def test_starts_a_vcpu_that_is_off(self, machine: FakeMachine, function: int) -> None:
        assert call(machine, function, 1, ENTRY, CONTEXT) == SUCCESS
        target = machine.vm.fakes[1]
        assert target.made == [ArmRequest.VCPU_RESET]
        assert not target.powered_off
        machine.engines[1].write_register("x5", 5)
        machine.parts[1].handle_reset()
        assert machine.engines[1].resets == 1
        assert machine.engines[1].registers["pc"] == ENTRY
        assert machine.engines[1].registers["x0"] == CONTEXT
        assert "x5" not in machine.engines[1].registers

    def test_one_that_is_on_already(self, machine: FakeMachine) -> None:
        assert call(machine, CPU_ON | SMC64, 0, ENTRY, CONTEXT) == ALREADY_ON
        call(machine, CPU_ON | SMC64, 1, ENTRY, CONTEXT)
        assert call(machine, CPU_ON | SMC64, 1, 0, 0) == ALREADY_ON, "on from the call, though it has not run yet"
        machine.parts[1].handle_reset()
        assert machine.engines[1].registers["pc"] == ENTRY

    @pytest.mark.parametrize("target", [2, 0x100, 1 << 31 | 1, 1 << 40, 1 << 24 | 1, U64])
    def test_one_that_does_not_exist(self, machine: FakeMachine, target: int) -> None:
        assert call(machine, CPU_ON | SMC64, target, ENTRY, CONTEXT) == INVALID_PARAMETERS

    def test_the_32_bit_call_narrows_its_arguments(self, machine: FakeMachine) -> None:
        upper = 0xFFFF_FFFF << 32
        assert call(machine, CPU_ON, upper | 1, upper | ENTRY, upper | CONTEXT) == SUCCESS
        machine.parts[1].handle_reset()
        assert machine.engines[1].registers["pc"] == ENTRY
        assert machine.engines[1].registers["x0"] == CONTEXT

    def test_any_entry_point_is_taken_as_kvm_does(self, machine: FakeMachine) -> None:
        assert call(machine, CPU_ON | SMC64, 1, 0x1_0003, 0) == SUCCESS
        machine.parts[1].handle_reset()
        assert machine.engines[1].registers["pc"] == 0x1_0003

    def test_clusters_of_sixteen(self) -> None:
        machine = FakeMachine(vcpus=18)
        assert call(machine, CPU_ON | SMC64, 0x101, ENTRY, 0) == SUCCESS
        assert [vcpu.index for vcpu in machine.vm.fakes if not vcpu.powered_off] == [0, 17]

    def test_the_target_starts_with_timers_off_and_nothing_enabled(self, machine: FakeMachine) -> None:
        machine.msr(1, "CNTV_CTL_EL0", 1)
        machine.msr(1, "ICC_IGRPEN1_EL1", 1)
        machine.msr(1, "ICC_PMR_EL1", 0xF0)
        call(machine, CPU_ON | SMC64, 1, ENTRY, CONTEXT)
        machine.parts[1].handle_reset()
        assert machine.mrs(1, "CNTV_CTL_EL0") & 3 == 0
        assert machine.mrs(1, "ICC_IGRPEN1_EL1") == machine.mrs(1, "ICC_PMR_EL1") == 0

    def test_a_reset_of_the_vm_forgets_a_start_that_was_asked_for(self, machine: FakeMachine) -> None:
        call(machine, CPU_ON | SMC64, 1, ENTRY, CONTEXT)
        machine.parts[1].reset()
        machine.parts[1].handle_reset()
        assert "pc" not in machine.engines[1].registers


class TestCpuOffAndSuspend:
    def test_off(self, machine: FakeMachine) -> None:
        assert call(machine, CPU_OFF) == SUCCESS
        assert machine.vm.fakes[0].powered_off

    def test_off_and_on_again(self, machine: FakeMachine) -> None:
        call(machine, CPU_ON | SMC64, 1, ENTRY, CONTEXT)
        call(machine, CPU_OFF, vcpu=1)
        assert call(machine, AFFINITY_INFO, 1, 0) == 1
        assert call(machine, CPU_ON | SMC64, 1, ENTRY + 4, CONTEXT) == SUCCESS
        machine.parts[1].handle_reset()
        assert machine.engines[1].registers["pc"] == ENTRY + 4

    @pytest.mark.parametrize("state", [0, 1 << 16, U64])
    def test_suspend_is_a_standby_whatever_was_asked_for(self, machine: FakeMachine, state: int) -> None:
        assert call(machine, CPU_SUSPEND, state, ENTRY, CONTEXT) == SUCCESS
        assert [vcpu.halts for vcpu in machine.vm.fakes] == [1, 0]
        assert not machine.vm.fakes[0].powered_off

    def test_suspend_by_smc64(self, machine: FakeMachine) -> None:
        assert call(machine, CPU_SUSPEND | SMC64, 0, 0, 0) == SUCCESS
        assert not machine.vm.fakes[0].powered_off


class TestAffinityInfo:
    def test_on_and_off(self, machine: FakeMachine) -> None:
        assert call(machine, AFFINITY_INFO | SMC64, 0, 0) == 0
        assert call(machine, AFFINITY_INFO | SMC64, 1, 0) == 1

    def test_a_level_above_looks_at_all_below(self) -> None:
        machine = FakeMachine(vcpus=18)
        assert call(machine, AFFINITY_INFO, 0x0, 1) == 0, "vCPU 0 of the first cluster is on"
        assert call(machine, AFFINITY_INFO, 0x100, 1) == 1, "nobody of the second"
        assert call(machine, AFFINITY_INFO, 0x100, 2) == call(machine, AFFINITY_INFO, 0, 3) == 0

    @pytest.mark.parametrize(("target", "level"), [(2, 0), (0x200, 1), (0, 4), (0, 0xFFFF_FFFF), (1 << 31, 0), (1 << 24, 3)])
    def test_bad_arguments(self, machine: FakeMachine, target: int, level: int) -> None:
        assert call(machine, AFFINITY_INFO | SMC64, target, level) == INVALID_PARAMETERS


class TestSystem:
    def test_off(self, machine: FakeMachine) -> None:
        assert call(machine, SYSTEM_OFF) == INTERNAL_FAILURE, "for a guest that is made to run on"
        assert machine.vm.events == [(SystemEvent.SHUTDOWN, "SYSTEM_OFF")]

    def test_reset(self, machine: FakeMachine) -> None:
        assert call(machine, SYSTEM_RESET) == INTERNAL_FAILURE
        assert machine.vm.events == [(SystemEvent.RESET, "SYSTEM_RESET")]

    @pytest.mark.parametrize("kind", [0, 1 << 31, 1 << 31 | 7])
    def test_reset2(self, machine: FakeMachine, kind: int) -> None:
        assert call(machine, SYSTEM_RESET2, kind) == INTERNAL_FAILURE
        assert [event for event, _ in machine.vm.events] == [SystemEvent.RESET]

    def test_reset2_takes_32_bits_of_its_kind(self, machine: FakeMachine) -> None:
        assert call(machine, SYSTEM_RESET2 | SMC64, 1 << 40) == INTERNAL_FAILURE
        assert machine.vm.events == [(SystemEvent.RESET, "SYSTEM_RESET2 0x0")]

    def test_reset2_of_a_reserved_kind(self, machine: FakeMachine) -> None:
        assert call(machine, SYSTEM_RESET2 | SMC64, 1) == INVALID_PARAMETERS
        assert machine.vm.events == []
