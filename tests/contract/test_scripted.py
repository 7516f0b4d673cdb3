"""The scripted engine keeps the contract of engines; and a device that keeps all rules keeps the contract of devices."""

from __future__ import annotations

import pytest

from avmm import ConfigError
from avmm.clock import VirtualClock
from avmm.engine import EngineOptions, ExternalAbort, SystemRegister, Undefined, VcpuEngine
from avmm.exits import BUDGET_EXHAUSTED, HALTED, YIELDED, Fault
from avmm.plugin import Device, DeviceOptions, Width
from avmm.testing import (
    Call,
    Compute,
    FlushAllTlbs,
    MmioRead,
    MmioWrite,
    Program,
    ReadSystemRegister,
    Script,
    ScriptedEngine,
    ScriptedVcpu,
    Spin,
    WriteSystemRegister,
    create_engine,
)
from avmm.testing.contract import MMIO_ADDRESS, DeviceContract, EngineContract, Guest, RecordedTraps


def _halt(cpu: ScriptedVcpu) -> Script:
    while True:
        yield HALTED


def _mmio(cpu: ScriptedVcpu) -> Script:
    while True:
        value = yield MmioRead(MMIO_ADDRESS)
        yield MmioWrite(MMIO_ADDRESS + 4, value + 1)


def _hypercall(cpu: ScriptedVcpu) -> Script:
    while True:
        yield Call()


class TestScriptedEngine(EngineContract):
    """The scripted engine."""

    def make_vcpu(self, guest: Guest, traps: RecordedTraps) -> VcpuEngine:
        programs: dict[Guest, Program] = {
            Guest.SPIN: [Spin()],
            Guest.HALT: _halt,
            Guest.MMIO: _mmio,
            Guest.HYPERCALL: _hypercall,
        }
        return ScriptedEngine(programs[guest]).create_vcpu(0, traps, (), ())


class Doorbell(Device):
    """Writing n rings it n times; reading gives the rings so far, and silences it."""

    size = 0x100

    def __init__(self, options: DeviceOptions) -> None:
        self._irq = options.irq
        self.rings = 0

    def read(self, offset: int, width: Width) -> int:
        if offset or self._irq is None:
            return 0
        self._irq.set_level(False)
        return self.rings

    def write(self, offset: int, width: Width, value: int) -> None:
        if offset == 0 and self._irq is not None:
            self.rings = self.rings + value & 0xFFFF_FFFF
            self._irq.set_level(True)

    def reset(self) -> None:
        self.rings = 0
        if self._irq is not None:
            self._irq.set_level(False)


class TestDoorbell(DeviceContract):
    """A device."""

    def make_device(self, options: DeviceOptions) -> Device:
        return Doorbell(options)


class Sticky(Doorbell):
    """One whose line is high after a reset."""

    def reset(self) -> None:
        self.rings = 0
        if self._irq is not None:
            self._irq.set_level(True)


def test_the_contract_finds_a_device_that_breaks_it():
    contract = TestDoorbell()
    contract.make_device = Sticky
    fixtures = {name: getattr(DeviceContract, name).__wrapped__ for name in ("irqs", "options")}
    irqs = fixtures["irqs"](contract)
    with pytest.raises(AssertionError, match="high after a reset"):
        contract.test_a_reset_brings_back_the_state_after_power_on(fixtures["options"](contract, irqs, {}), irqs)


def _vcpu(program: Program, registers: tuple[SystemRegister, ...] = ()) -> ScriptedVcpu:
    return ScriptedEngine(program).create_vcpu(0, RecordedTraps(), registers, ())


def test_a_program_gets_the_results_of_its_steps():
    results: list[object] = []

    def program(cpu: ScriptedVcpu) -> Script:
        results.append((yield MmioRead(0x10, 2)))
        results.append((yield Call(7, (1, 2), secure=True)))
        results.append((yield ReadSystemRegister("constant")))
        results.append((yield WriteSystemRegister("constant", 5)))
        results.append((yield ReadSystemRegister("live")))
        results.append((yield FlushAllTlbs()))
        results.append((yield YIELDED))
        results.append((yield HALTED))

    live = [1]
    registers = (
        SystemRegister("constant", (3, 0, 0, 0, 0), constant=9),
        SystemRegister("live", (3, 0, 0, 0, 1), read=lambda: live[0], write=live.append),
    )
    vcpu = _vcpu(program, registers)
    assert [vcpu.enter(), vcpu.enter(), vcpu.enter(), vcpu.enter()] == [YIELDED, HALTED, HALTED, HALTED]
    assert results == [41, 1, 9, 0, 1, 0, 0, 0]
    assert vcpu.tlb_flushes == 1


def test_aborts_and_undefined_instructions_are_raised_in_the_program():
    caught: list[str] = []

    def program(cpu: ScriptedVcpu) -> Script:
        for step in (MmioRead(0), ReadSystemRegister("none"), WriteSystemRegister("none", 1)):
            try:
                yield step
            except (ExternalAbort, Undefined) as error:
                caught.append(type(error).__name__)
        yield MmioRead(0)

    engine, traps = ScriptedEngine(program), RecordedTraps()
    traps.on_access = [ExternalAbort("no"), ExternalAbort("again")]
    vcpu = engine.create_vcpu(0, traps, (), ())
    exit_ = vcpu.enter()
    assert isinstance(exit_, Fault)
    assert "ExternalAbort again" in exit_.detail
    assert caught == ["ExternalAbort", "Undefined", "Undefined"]


def test_a_budget_stops_in_the_middle_of_a_computation():
    vcpu = _vcpu([Compute(10), HALTED])
    vcpu.count_instructions(True)  # noqa: FBT003
    assert [vcpu.enter(4), vcpu.enter(4), vcpu.enter(4)] == [BUDGET_EXHAUSTED, BUDGET_EXHAUSTED, HALTED]
    assert vcpu.instructions == 11


def test_an_interrupt_ends_a_spin():
    vcpu = _vcpu([Spin(), HALTED])
    assert vcpu.enter(5) == BUDGET_EXHAUSTED
    vcpu.set_irq_line(True)
    assert vcpu.enter(5) == HALTED


def test_a_reset_begins_the_program_anew():
    vcpu = _vcpu([YIELDED, HALTED])
    assert [vcpu.enter(), vcpu.enter()] == [YIELDED, HALTED]
    vcpu.write_register("x1", 5)
    vcpu.reset()
    assert vcpu.read_register("x1") == 0
    assert vcpu.enter() == YIELDED


def _options(**options: object) -> EngineOptions:
    return EngineOptions("toy", "", VirtualClock(), options)


def test_the_factory_takes_programs_by_name():
    engine = create_engine(_options(program="tests.contract.test_scripted:_halt", max_in_guest=3))
    assert engine.max_in_guest == 3
    assert engine.create_vcpu(5, RecordedTraps(), (), ()).enter() == HALTED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"programme": ()}, "engine.programme"),
        ({"programs": 5}, "5 is not a list of programs"),
        ({"programs": "a:b"}, "is not a list of programs"),
        ({"program": 5}, "generator function"),
        ({"program": "tests.contract.test_scripted:none"}, "none"),
        ({"program": "no_such_module:x"}, "no_such_module"),
        ({"max_in_guest": 0}, "engine.max_in_guest: 0 is not a whole number from 1 to 512"),
        ({"max_in_guest": True}, "engine.max_in_guest: true is not a whole number"),
    ],
)
def test_the_factory_names_mistakes(options, message):
    with pytest.raises(ConfigError, match=message):
        create_engine(_options(**options))
