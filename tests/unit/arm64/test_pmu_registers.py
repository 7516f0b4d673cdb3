"""The PMU as the guest reaches it: what EL0 may do, indirect access, counters that do not exist, and the way to the GIC."""

from __future__ import annotations

import fdt
import pytest

from avmm.plugin import BootImage, ConfigError, CountedEvent, EventFilter, Undefined, Width
from avmm_arm64.gic import Gic
from avmm_arm64.pmu_events import PmuEvent
from avmm_arm64.requests import ArmRequest
from tests.unit.arm64.fakes import EL0, EL1H, FakeMachine
from tests.unit.arm64.gic_bench import IGROUPR, ISENABLER, SGI_BASE

EN, SW, CR, ER = 1, 2, 4, 8
E, INST = 1, PmuEvent.INST_RETIRED
ALL_REGISTERS = {
    register.name
    for register in FakeMachine().parts[0].system_registers
    if register.name.startswith("PM") and register.name != "PMMIR_EL1"
}
# What EL0 needs to read and to write: any of these bits of PMUSERENR_EL0; None: never; 0: always.
TYPES = {name: (EN, EN) for name in ALL_REGISTERS if name.startswith("PMEVTYPER")}
COUNTERS = {name: (ER | EN, EN) for name in ALL_REGISTERS if name.startswith("PMEVCNTR")}
EL0_NEEDS: dict[str, tuple[int | None, int | None]] = {
    **TYPES,
    **COUNTERS,
    "PMCR_EL0": (EN, EN),
    "PMCNTENSET_EL0": (EN, EN),
    "PMCNTENCLR_EL0": (EN, EN),
    "PMOVSCLR_EL0": (EN, EN),
    "PMOVSSET_EL0": (EN, EN),
    "PMCEID0_EL0": (EN, None),
    "PMCEID1_EL0": (EN, None),
    "PMXEVTYPER_EL0": (EN, EN),
    "PMCCFILTR_EL0": (EN, EN),
    "PMSWINC_EL0": (None, SW | EN),
    "PMCCNTR_EL0": (CR | EN, EN),
    "PMXEVCNTR_EL0": (ER | EN, EN),
    "PMSELR_EL0": (ER | EN, ER | EN),
    "PMUSERENR_EL0": (0, None),
    "PMINTENSET_EL1": (None, None),
    "PMINTENCLR_EL1": (None, None),
}


def allowed(machine: FakeMachine, name: str, *, write: bool) -> bool:
    """True when an access from where the vCPU is goes through."""
    register = machine.register(0, name)
    if register.encoding[1] == 0 and machine.engines[0].registers["pstate"] == EL0:
        assert not register.el0
        return False
    handler = register.write if write else register.read
    if handler is None:
        return False
    asked = register.allowed_at_el0
    if asked is not None and machine.engines[0].registers["pstate"] == EL0 and not asked(not write):
        return False
    try:
        if register.write is not None and write:
            register.write(0)
        elif register.read is not None:
            register.read()
    except Undefined:
        return False
    return True


@pytest.fixture
def full() -> FakeMachine:
    return FakeMachine(pmu_counters=31)


@pytest.mark.parametrize("name", sorted(ALL_REGISTERS))
def test_what_el0_needs(full: FakeMachine, name: str) -> None:
    for userenr in range(16):
        for write, needs in enumerate(EL0_NEEDS[name]):
            full.engines[0].registers["pstate"] = EL1H
            full.msr(0, "PMUSERENR_EL0", userenr)
            full.engines[0].registers["pstate"] = EL0
            expected = needs is not None and (needs == 0 or bool(userenr & needs))
            assert allowed(full, name, write=bool(write)) is expected


@pytest.mark.parametrize("name", sorted(ALL_REGISTERS))
def test_el1_needs_nothing(full: FakeMachine, name: str) -> None:
    read_only = name in ("PMCEID0_EL0", "PMCEID1_EL0")
    assert allowed(full, name, write=False) is (name != "PMSWINC_EL0")
    assert allowed(full, name, write=True) is not read_only


def test_event_counters_that_do_not_exist_are_undefined(machine: FakeMachine) -> None:
    assert [n for n in range(31) if allowed(machine, f"PMEVCNTR{n}_EL0", write=False)] == list(range(6))
    assert [n for n in range(31) if allowed(machine, f"PMEVTYPER{n}_EL0", write=True)] == list(range(6))
    assert allowed(machine, "PMCCFILTR_EL0", write=True)


@pytest.mark.parametrize(("select", "exists"), [(0, True), (5, True), (6, False), (30, False), (31, True)])
def test_indirect_access(machine: FakeMachine, select: int, exists: bool) -> None:
    machine.msr(0, "PMSELR_EL0", select)
    for name in ("PMXEVTYPER_EL0", "PMXEVCNTR_EL0"):
        for write in (False, True):
            assert allowed(machine, name, write=write) is exists
    if exists:
        machine.msr(0, "PMXEVTYPER_EL0", 0xEA)
        machine.msr(0, "PMXEVCNTR_EL0", 0xDEADBEEF)
        type_, counter = ("PMCCFILTR_EL0", "PMCCNTR_EL0") if select == 31 else (f"PMEVTYPER{select}_EL0", f"PMEVCNTR{select}_EL0")
        assert (machine.mrs(0, type_), machine.mrs(0, counter)) == (0xEA, 0xDEADBEEF)
        assert (machine.mrs(0, "PMXEVTYPER_EL0"), machine.mrs(0, "PMXEVCNTR_EL0")) == (0xEA, 0xDEADBEEF)


def test_pmmir_reads_as_zero(machine: FakeMachine) -> None:
    assert machine.mrs(0, "PMMIR_EL1") == 0
    assert machine.register(0, "PMMIR_EL1").write is None


@pytest.mark.parametrize(("cpu", "identity"), [("cortex-a57", 0x4101)])
def test_identity(machine: FakeMachine, cpu: str, identity: int) -> None:
    assert machine.mrs(0, "PMCR_EL0") == identity << 16 | 6 << 11 | 1 << 6


def overflow(machine: FakeMachine, index: int = 0) -> None:
    """A counter of vCPU `index` that interrupts at its next instruction."""
    for name, value in (
        ("PMEVTYPER0_EL0", INST),
        ("PMEVCNTR0_EL0", (1 << 32) - 1),
        ("PMCNTENSET_EL0", 1),
        ("PMINTENSET_EL1", 1),
        ("PMCR_EL0", E),
    ):
        machine.msr(index, name, value)


def pending(machine: FakeMachine, index: int, intid: int) -> bool:
    gic = machine.arch.gic
    assert isinstance(gic, Gic)
    return bool(gic.redistributors[index].bank.level >> intid & 1)


@pytest.mark.parametrize("intid", [23, 16, 31])
def test_a_private_interrupt(intid: int) -> None:
    machine = FakeMachine(pmu_irq=intid)
    overflow(machine, 1)
    machine.engines[1].happened(CountedEvent.INSTRUCTIONS, 1)
    machine.engines[1].settle()
    assert [pending(machine, index, intid) for index in (0, 1)] == [False, True]
    machine.msr(1, "PMOVSCLR_EL0", 1)
    assert not pending(machine, 1, intid)


def test_a_shared_interrupt_each() -> None:
    machine = FakeMachine(pmu_irq=100)
    levels: list[tuple[int, bool]] = []
    machine.arch.gic.set_spi_level = lambda number, level: levels.append((number, level))  # type: ignore[method-assign]
    for index in (0, 1):
        overflow(machine, index)
        machine.engines[index].happened(CountedEvent.INSTRUCTIONS, 1)
        machine.engines[index].settle()
        machine.msr(index, "PMCR_EL0", 0)
    assert levels == [(68, True), (68, False), (69, True), (69, False)]


def test_an_overflow_in_the_guest_drives_the_pin_in_place(machine: FakeMachine) -> None:
    vcpu, engine = machine.vm.fakes[0], machine.engines[0]
    vcpu.own_thread = True
    gic = machine.arch.gic
    assert isinstance(gic, Gic)
    gic.distributor.write(0, Width.W32, 0b11)
    for offset in (IGROUPR, ISENABLER):
        gic.region.write(SGI_BASE + offset, Width.W32, 1 << 23)
    for name, value in (("ICC_PMR_EL1", 0xFF), ("ICC_IGRPEN1_EL1", 1)):
        machine.msr(0, name, value)
    overflow(machine)
    engine.happened(CountedEvent.INSTRUCTIONS, 1)
    assert not engine.irq_line
    engine.settle()
    assert engine.irq_line
    assert not vcpu.kicked


def test_powering_on_resets_the_pmu(machine: FakeMachine) -> None:
    overflow(machine)
    machine.engines[0].happened(CountedEvent.INSTRUCTIONS, 1)
    machine.engines[0].settle()
    machine.parts[0].reset()
    assert not pending(machine, 0, 23)
    assert machine.mrs(0, "PMCNTENSET_EL0") == machine.mrs(0, "PMCR_EL0") & E == 0
    assert machine.engines[0].mask == 0


def test_reload(machine: FakeMachine) -> None:
    pmu = machine.parts[0].pmu
    assert pmu is not None
    overflow(machine)
    machine.engines[0].mask = 0  # whoever counts has forgotten
    machine.arch.handlers()[ArmRequest.RELOAD_PMU](machine.vm.vcpus[0])
    assert machine.engines[0].mask == 0b11
    without = FakeMachine(pmu=False)
    without.arch.handlers()[ArmRequest.RELOAD_PMU](without.vm.vcpus[0])


def node_of(machine: FakeMachine) -> fdt.Node | None:
    machine.arch.boot(BootImage(entry=0x4008_0000, end=0x4009_0000), ())
    address = machine.engines[0].registers["x0"]
    size = int.from_bytes(machine.vm.memory.read(address + 4, 4), "big")
    tree = fdt.parse_dtb(bytes(machine.vm.memory.read(address, size)))
    return tree.get_node("/pmu") if tree.exist_node("/pmu") else None


def test_the_device_tree_with_a_private_interrupt(machine: FakeMachine) -> None:
    node = node_of(machine)
    assert node is not None
    assert node.get_property("compatible").value == "arm,armv8-pmuv3"
    assert list(node.get_property("interrupts")) == [1, 7, 4]


def test_the_device_tree_with_shared_interrupts() -> None:
    node = node_of(FakeMachine(pmu_irq=100))
    assert node is not None
    assert list(node.get_property("interrupts")) == [0, 68, 4, 0, 69, 4]
    assert len(list(node.get_property("interrupt-affinity"))) == 2


def test_no_node_without_a_pmu() -> None:
    assert node_of(FakeMachine(pmu=False)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pmu": 1}, "arch.pmu: 1 is not true or false"),
        ({"pmu_counters": 32}, "arch.pmu_counters: 32 is not a whole number from 0 to 31"),
        ({"pmu_counters": "6"}, "arch.pmu_counters: '6' is not a whole number"),
        ({"pmu_irq": 15}, "arch.pmu_irq: 15 is not a whole number from 16 to 286"),
        ({"pmu_irq": 287}, "arch.pmu_irq: 287 is not a whole number from 16 to 286"),
        ({"pmu_irq": True}, "arch.pmu_irq: true is not a whole number"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FakeMachine(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_an_interrupt_that_is_a_timers() -> None:
    with pytest.raises(ConfigError, match="a timer has private interrupt 27 already"):
        FakeMachine(pmu_irq=27).arch.check()


class TestAttributes:
    """Device attributes, set before the first run."""

    PMU, IRQ, INIT, FILTER = 0, 0, 1, 2

    def test_the_machine_sets_up_what_nobody_has(self, machine: FakeMachine) -> None:
        machine.arch.check()
        assert [machine.parts[index].get_attr(self.PMU, self.IRQ) for index in (0, 1)] == [23, 23]

    def test_another_interrupt(self, machine: FakeMachine) -> None:
        for part in machine.parts:
            part.set_attr(self.PMU, self.IRQ, 20)
        machine.parts[0].set_attr(self.PMU, self.INIT, None)
        node = node_of(machine)
        assert node is not None
        assert list(node.get_property("interrupts")) == [1, 4, 4]
        machine.arch.check()
        overflow(machine)
        machine.engines[0].happened(CountedEvent.INSTRUCTIONS, 1)
        machine.engines[0].settle()
        assert pending(machine, 0, 20)

    def test_filters(self, machine: FakeMachine) -> None:
        machine.parts[0].set_attr(self.PMU, self.FILTER, EventFilter(INST, 1, 1))
        machine.arch.check()
        machine.arch.check()
        for index in (0, 1):
            overflow(machine, index)
            assert not machine.engines[index].mask, "denied for all of the VM"
            assert not machine.mrs(index, "PMCEID0_EL0") >> INST & 1
