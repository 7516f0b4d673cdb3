"""Device attributes of the vCPUs of a whole VM."""

from __future__ import annotations

import pytest

from avmm import MachineConfig, Vm
from avmm.errors import OperationRefused
from avmm.testing import ScriptedVm
from avmm_arm64.vcpu import Arm64Vcpu


def config(**arch: object) -> MachineConfig:
    return MachineConfig(
        arch={"name": "arm64", **arch}, vcpus=2, memory="4M", default_devices=False, clock="virtual", slot="inline"
    )


def counters(vm: Vm, index: int) -> int:
    """PMCR_EL0.N of a vCPU."""
    parts = vm.vcpus[index].arch
    assert isinstance(parts, Arm64Vcpu)
    assert parts.pmu is not None
    return parts.pmu.read_pmcr() >> 11 & 31


async def test_setting_one_sets_it_for_all_before_any_has_run() -> None:
    async with Vm(config(virtual_timer_ppi=26)) as vm:
        first, second = vm.vcpus
        assert first.has_attr("TIMER_CTRL", "TIMER_IRQ_VTIMER")
        assert first.get_attr(1, 0) == first.get_attr(1, "TIMER_IRQ_VTIMER") == 26, "the machine's description says so"
        first.set_attr("TIMER_CTRL", "TIMER_IRQ_VTIMER", 20)
        assert second.get_attr("TIMER_CTRL", 0) == 20
        await vm.start()
        with pytest.raises(OperationRefused, match="EBUSY: a vCPU has run"):
            second.set_attr("TIMER_CTRL", "TIMER_IRQ_PTIMER", 21)


async def test_a_pmu_can_have_fewer_event_counters() -> None:
    async with Vm(config(pmu_counters=4)) as vm:
        first, second = vm.vcpus
        assert first.has_attr("PMU_V3_CTRL", "SET_NR_COUNTERS")
        for value, errno in ((5, "EINVAL"), (-1, "EINVAL"), (None, "EFAULT")):
            with pytest.raises(OperationRefused, match=errno):
                first.set_attr("PMU_V3_CTRL", "SET_NR_COUNTERS", value)
        with pytest.raises(OperationRefused, match="ENXIO"):
            first.get_attr("PMU_V3_CTRL", "SET_NR_COUNTERS")
        first.set_attr("PMU_V3_CTRL", "SET_NR_COUNTERS", 1)
        first.set_attr("PMU_V3_CTRL", "SET_PMU", 8)
        await vm.start()
        assert [counters(vm, index) for index in (0, 1)] == [4, 4], "choosing the PMU brings all of them back"
        with pytest.raises(OperationRefused, match="EBUSY"):
            second.set_attr("PMU_V3_CTRL", "SET_NR_COUNTERS", 2)
    async with Vm(config(pmu_counters=4)) as vm:
        vm.vcpus[1].set_attr("PMU_V3_CTRL", 4, 0)
        await vm.start()
        assert [counters(vm, index) for index in (0, 1)] == [0, 0], "the VM's, whoever was asked"


@pytest.mark.parametrize(("group", "attribute"), [("TIMER_CTRL", "NONE"), ("NONE", 0), (1, 9), (99, 0), (2, 0)])
async def test_what_does_not_exist_is_refused(group: int | str, attribute: int | str) -> None:
    async with Vm(config()) as vm:
        vcpu = vm.vcpus[0]
        assert not vcpu.has_attr(group, attribute)
        with pytest.raises(OperationRefused, match="ENXIO"):
            vcpu.get_attr(group, attribute)
        with pytest.raises(OperationRefused, match="ENXIO"):
            vcpu.set_attr(group, attribute, 20)


async def test_an_architecture_need_not_have_any() -> None:
    async with ScriptedVm() as vm:
        vcpu = vm.vcpus[0]
        assert not vcpu.has_attr(0, 0)
        with pytest.raises(OperationRefused, match="ENXIO: no attribute 0 in group 0"):
            vcpu.get_attr(0, 0)
        with pytest.raises(OperationRefused, match="ENXIO: no attribute group PMU_V3_CTRL; there is none"):
            vcpu.set_attr("PMU_V3_CTRL", "IRQ", 23)
