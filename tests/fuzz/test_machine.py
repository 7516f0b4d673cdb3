"""The whole arm64 machine, in all states of its life, under any guest and any host.

Never an exception out of the VMM, never a busy loop, never a lost interrupt, and the VM can be stopped at any time. Time is
virtual and the guests are scripts, so that nothing depends on the machine that runs the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm import HaltReason, MachineConfig, Request, Vm
from avmm.errors import AvmmError
from avmm.plugin import EventFilter, SystemEvent, Width
from avmm.snapshot import take_snapshot
from avmm.testing import ScriptedVcpu, ToyPlugins
from avmm.testing.steps import Step
from avmm_arm64.gic import Gic, GicV2
from tests.fuzz.guests import Guest, steps
from tests.sleepers import sleeps

VCPUS = 2
GICS = ("gicv3", "gicv2")
STOP_LIMIT_PASSES = 50
STOP_LIMIT_INSTRUCTIONS = 10_000 * VCPUS
"""One slice of each vCPU: nowhere near the 100 ms that a stop may take (`python -m tests.benchmarks` measures them)."""
PATIENCE = 5_000
"""Passes that whatever must happen by itself may take."""
SPI = 40
"""A shared interrupt of no device's."""
SGI = 3

Act = tuple[str, tuple[object, ...]]


def machine(guests: Sequence[Guest], irqchip: str) -> Vm:
    return Vm(
        MachineConfig(
            arch="arm64",
            irqchip=irqchip,
            engine={"name": "scripted", "programs": list(guests)},
            vcpus=VCPUS,
            memory="1M",
            clock="virtual",
            slot="inline",
            devices={"testdev": {"kind": "virtio-console", "testdev": True}, "gpio0": {"kind": "pl061"}},
        ),
        plugins=ToyPlugins(),
    )


@cache
def registers(irqchip: str) -> tuple[str, ...]:
    """The system registers of such a machine."""

    async def names() -> tuple[str, ...]:
        async with machine([Guest([], irqchip == "gicv2")] * VCPUS, irqchip) as vm:
            return tuple(register.name for register in vm.vcpus[0].arch.system_registers)

    return asyncio.run(names())


attributes = st.tuples(
    st.integers(0, VCPUS - 1),
    st.sampled_from(["PMU_V3_CTRL", "TIMER_CTRL", "PVTIME_CTRL", "NONE", 0, 1, 99]),
    st.sampled_from(
        ["IRQ", "INIT", "FILTER", "SET_PMU", "SET_NR_COUNTERS", "TIMER_IRQ_VTIMER", "TIMER_IRQ_PTIMER", "NONE", 0, 9]
    ),
    st.one_of(
        st.none(),
        st.sampled_from([0, 8, 15, 16, 20, 23, 27, 30, 31, 32, 287, 288]),
        st.integers(-(2**31), 2**64),
        st.builds(EventFilter, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 3)),
    ),
)
acts: st.SearchStrategy[Act] = st.one_of(
    st.tuples(st.just("pass"), st.tuples(st.integers(1, 8))),
    st.tuples(st.just("pass"), st.tuples(st.integers(1, 8))),
    st.tuples(st.just("attribute"), attributes),
    st.tuples(st.just("line"), st.tuples(st.integers(-1, 300), st.booleans())),
    st.tuples(st.just("request"), st.tuples(st.sampled_from([Request.TLB_FLUSH, Request.MMU_RELOAD, Request.UNBLOCK]))),
    st.tuples(st.sampled_from(["start", "pause", "resume", "reset", "snapshot", "button"]), st.just(())),
    st.tuples(st.just("power"), st.tuples(st.integers(0, VCPUS - 1), st.booleans())),
    st.tuples(st.just("advance"), st.tuples(st.integers(0, 10**12))),
)


async def act(vm: Vm, name: str, arguments: tuple[object, ...]) -> None:
    """Something that a host does; what it may not do now is refused, in one of avmm's own errors."""
    doings: dict[str, Callable[..., Awaitable[object]]] = {
        "start": vm.start,
        "pause": vm.pause,
        "resume": vm.resume,
    }
    try:
        if name in doings:
            await doings[name]()
        else:
            at_once(vm, name, *arguments)
    except AvmmError:
        pass
    if name == "pass":
        await passes(int(str(arguments[0])))


def at_once(vm: Vm, name: str, *arguments: object) -> None:
    match name, arguments:
        case "attribute", (int(index), (int() | str()) as group, (int() | str()) as attribute, value):
            vcpu = vm.vcpus[index]
            vcpu.has_attr(group, attribute)
            try:
                vcpu.get_attr(group, attribute)
            finally:
                assert value is None or isinstance(value, int | EventFilter)
                vcpu.set_attr(group, attribute, value)
        case "line", (int(number), bool(level)):
            with vm.device_lock:
                vm.arch.irq_chip.set_spi_level(number, level)
        case "request", (int(request),):
            vm.make_all_cpus_request(request)
        case "reset", ():
            vm.system_event(SystemEvent.RESET)
        case "button", ():
            vm.steering.press_power_button()
        case "snapshot", ():
            take_snapshot(vm)
        case "power", (int(index), bool(on)):
            (vm.vcpus[index].power_on if on else vm.vcpus[index].power_off)()
        case "advance", (int(ns),):
            vm.clock.advance(ns)  # type: ignore[attr-defined]
        case _:
            assert name == "pass"


async def passes(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(vm: Vm, over: Callable[[], bool], what: str) -> None:
    for _ in range(PATIENCE):
        if over():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{what}: {vm.vcpus} {vm.state()}")


async def run_on(vm: Vm) -> bool:
    """Whatever state it is in, have it run; False when it is over, or its attributes forbid it to start."""
    if vm.state() == "init":
        await act(vm, "start", ())
    for _ in range(PATIENCE):
        match vm.state():
            case "running":
                return True
            case "halted" | "init":
                return False
            case "paused":
                await act(vm, "resume", ())
            case _:
                await asyncio.sleep(0)
    raise AssertionError(f"it does not run: {vm.state()}")


def over(vm: Vm) -> bool:
    return vm.state() == "halted"


async def stop(vm: Vm) -> None:
    """Stop it: soon, in passes of the event loop and in instructions that guests still carry out."""
    before, stopping = executed(vm), asyncio.ensure_future(vm.stop())
    for _ in range(STOP_LIMIT_PASSES):
        if stopping.done():
            break
        await asyncio.sleep(0)
    assert stopping.done(), f"it does not stop: {vm.vcpus}"
    assert executed(vm) - before <= STOP_LIMIT_INSTRUCTIONS
    if vm.halt is not None:
        halt = await vm.halted()
        assert halt.reason in (HaltReason.STOPPED, HaltReason.SHUTDOWN), halt


def executed(vm: Vm) -> int:
    return sum(vcpu.engine.instructions for vcpu in vm.vcpus)


async def be_quiet(vm: Vm, guests: Sequence[Guest]) -> None:
    """With nothing to do, every vCPU sleeps, and nothing in the VM moves any more."""
    await until(vm, lambda: over(vm) or all(sleeps(vcpu) for vcpu in vm.vcpus), "it does not come to rest")
    await passes(20)
    before = [(vcpu.stats.exits, vcpu.stats.aborted_entries, vcpu.stats.wakeups) for vcpu in vm.vcpus]
    await passes(50)
    assert before == [(vcpu.stats.exits, vcpu.stats.aborted_entries, vcpu.stats.wakeups) for vcpu in vm.vcpus], "it does not rest"


def set_up(gic: Gic | GicV2) -> None:
    """The controller as at power-on, then one shared and one software-generated interrupt enabled everywhere."""
    gic.reset()
    distributor = gic.distributor
    for number in range(len(gic.interfaces)):
        bank = gic.private_bank(number)
        bank.enabled, bank.group1 = 1 << SGI, 0 if isinstance(gic, GicV2) else 0xFFFF_FFFF
    bit = 1 << SPI - 32
    distributor.spis.enabled, distributor.spis.edge = bit, bit
    distributor.spis.group1 = 0 if isinstance(gic, GicV2) else bit
    distributor.write(0, Width.W32, 0b11)
    if isinstance(gic, GicV2):
        for number, interface in enumerate(gic.interfaces):
            gic.accessor.index = number
            interface.write_register(0x04, 0xFF)
            interface.write_register(0x00, 0b11)
    else:
        for cpu in gic.interfaces:
            cpu.write_pmr(0xFF)
            cpu.write_igrpen1(1)


async def hear(vm: Vm, guests: Sequence[Guest]) -> None:
    """Set the controller up, and send interrupts: each is heard, by its own vCPU, as often as it was sent."""
    gic = vm.arch.irq_chip
    assert isinstance(gic, Gic | GicV2)

    def listening() -> bool:
        for vcpu, guest in zip(vm.vcpus, guests, strict=True):
            if not guest.listening and vcpu.asleep:  # it waits for an interrupt, or is off: neither must be for ever
                vcpu.power_on()
                vcpu.make_request_and_kick(Request.UNBLOCK)
        return over(vm) or all(guest.listening for guest in guests)

    await until(vm, listening, "a guest does not come to its end")
    for vcpu in vm.vcpus:
        vcpu.power_on()
    await be_quiet(vm, guests)
    if over(vm):
        return
    with vm.device_lock:
        set_up(gic)
    for guest in guests:
        guest.heard.clear()
    for times in range(1, 4):
        with vm.device_lock:
            gic.set_spi_level(SPI - 32, level=False)
            gic.set_spi_level(SPI - 32, level=True)
        await until(vm, lambda times=times: guests[0].heard.count(SPI) == times, "a shared interrupt is lost")  # type: ignore[misc]
        with vm.device_lock:
            if isinstance(gic, GicV2):
                gic.interfaces[1].add_sgi(SGI, 0)
            else:
                gic.send_sgi(0, SGI << 24 | 0b10, group1=True)
        await until(vm, lambda times=times: guests[1].heard.count(SGI) == times, "an SGI is lost")  # type: ignore[misc]
    assert set(guests[0].heard) <= {SPI}
    assert set(guests[1].heard) == {SGI}


async def live(programs: Sequence[Sequence[tuple[Step, bool]]], life: Sequence[Act], irqchip: str, *, short: bool) -> None:
    guests = [Guest(program, irqchip == "gicv2") for program in programs]
    vm = machine(guests, irqchip)
    async with vm:
        for vcpu in vm.vcpus:
            vcpu.engine.count_instructions(on=True)
        for name, arguments in life:
            await act(vm, name, arguments)
        if not short and await run_on(vm):
            await hear(vm, guests)
        await stop(vm)
        for name, arguments in life:
            await act(vm, name, arguments)  # on a VM that is over, too
    assert all(isinstance(vcpu.engine, ScriptedVcpu) and vcpu.engine.closed for vcpu in vm.vcpus)


@pytest.mark.parametrize("irqchip", GICS)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_machine_survives_any_guest_and_any_host(irqchip: str, data: st.DataObject) -> None:
    step = st.tuples(steps(registers(irqchip)), st.booleans())
    programs = data.draw(st.lists(st.lists(step, max_size=30), min_size=VCPUS, max_size=VCPUS))
    life = data.draw(st.lists(acts, max_size=12))
    asyncio.run(
        live(programs, [("start", ()), *life] if data.draw(st.booleans()) else life, irqchip, short=data.draw(st.booleans()))
    )
