"""From a machine's description to its parts: memory, architecture, vCPUs, engine, slots, devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import ParamSpec, Protocol, TypeVar

from avmm import registry
from avmm.arch import Arch, ArchFactory, ArchOptions, DevicePlace, Firmware, SystemEvent, VmServices
from avmm.config import MachineConfig
from avmm.console import Console
from avmm.device import DeviceFactory, DeviceOptions
from avmm.engine import Engine, EngineFactory, EngineOptions
from avmm.entry_points import written
from avmm.errors import AvmmError, ConfigError, PluginError
from avmm.exits import ExitReason
from avmm.instrument import InstrumentFactory
from avmm.irq import IrqLine
from avmm.memory import MemorySlot
from avmm.record import Record
from avmm.rom import Rom
from avmm.served import ServedMmio, ServedRegister
from avmm.slot import InlineSlot, Slot, ThreadSlot
from avmm.vcpu.host import VcpuHost
from avmm.vcpu.kicker import make_vcpus_request
from avmm.vcpu.requests import REQUEST_MASK, Request
from avmm.vcpu.vcpu import Vcpu

P = ParamSpec("P")
R = TypeVar("R")


class Plugins(Protocol):
    """Where factories come from. PluginError when there is none of that name."""

    def arch(self, name: str) -> ArchFactory: ...

    def engine(self, name: str) -> EngineFactory: ...

    def device(self, name: str) -> DeviceFactory: ...

    def instrument(self, name: str) -> InstrumentFactory: ...


class Installed:
    """The plugins that are installed now, by their entry points."""

    def __init__(self) -> None:
        self._entries = written()

    def arch(self, name: str) -> ArchFactory:
        return registry.load(registry.ARCH, name, self._entries)

    def engine(self, name: str) -> EngineFactory:
        return registry.load(registry.ENGINES, name, self._entries)

    def device(self, name: str) -> DeviceFactory:
        return registry.load(registry.DEVICES, name, self._entries)

    def instrument(self, name: str) -> InstrumentFactory:
        return registry.load(registry.INSTRUMENTS, name, self._entries)


class BuildingVm(VmServices, VcpuHost, Protocol):
    """The VM whose parts are being made."""


class Machine(Record):
    """The parts of one VM."""

    arch: Arch
    engine: Engine
    vcpus: list[Vcpu]
    slots: list[Slot]
    devices: list[DevicePlace]
    request_names: dict[int, str]


def assemble(
    vm: BuildingVm, vcpus: list[Vcpu], config: MachineConfig, plugins: Plugins, console: Console, undo: ExitStack
) -> Machine:
    """Make the parts; `vcpus` is filled in place. What must be given back later is left in `undo`, also on failure."""
    if config.clock == "virtual" and config.slot != "inline":
        raise ConfigError("virtual time needs slot = 'inline'", key="slot")
    if config.smp_mode == "parallel" and config.slot == "inline":
        raise ConfigError("vCPUs in parallel need slot = 'thread': inline there is one thread for all", key="smp_mode")
    options = ArchOptions(config.cpu, config.vcpus, config.memory_bytes, config.irqchip, config.arch_options, _firmware(config))
    arch = _make(config.arch, plugins.arch(config.arch), vm, options)
    undo.callback(vm.memory.close)
    for memory_slot in arch.memory_slots():
        vm.memory.add(memory_slot)
    parallel = config.vcpus > 1 and config.slot == "thread" and config.smp_mode != "turns"
    cache = config.translation_folder
    engine_options = EngineOptions(config.arch, config.cpu, vm.clock, config.engine_options, parallel, cache)
    engine = _make(config.engine, plugins.engine(config.engine), engine_options)
    undo.callback(engine.close)
    if parallel and config.smp_mode == "parallel" and engine.max_in_guest == 1:
        raise ConfigError(f"the {config.engine} engine cannot run vCPUs in parallel here", key="smp_mode")
    names: dict[int, str] = {
        request & REQUEST_MASK: request.name for request in (*arch.requests, *Request) if request != Request.OUTSIDE_GUEST_MODE
    }
    handlers = arch.handlers()
    for index in range(config.vcpus):
        vcpu = Vcpu(index, vm, handlers, names)
        vcpu.halt_poll.max_ns = config.halt_poll_ns
        vcpus.append(vcpu)
        vcpu.arch = arch.create_vcpu(vcpu)
    for memory_slot in vm.memory:
        engine.map_memory(memory_slot)
    slots = _make_slots(config, vm, engine, undo)
    for vcpu in vcpus:
        parts = vcpu.arch
        vcpu.engine = engine.create_vcpu(vcpu.index, parts.traps, parts.system_registers, parts.counters)
        undo.callback(vcpu.engine.close)
        vcpu.engine.count_instructions(config.counting)
        vcpu.slot = slots[vcpu.index % len(slots)]
        parts.attach(vcpu.engine)
    if engine.served_mmio is not None:
        _settle(vm, engine.served_mmio, vcpus, undo)
    devices = []
    for place in _places(config, arch):
        rom, served = _rom_maker(vm, engine, vcpus, place), _register_maker(vm, engine, place)
        devices.append(_add_device(vm, arch, plugins, console, place, rom, served, undo))
    return Machine(arch, engine, vcpus, slots, devices, names)


def _make(name: str, factory: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a plugin's factory; whatever it raises beyond avmm's own errors becomes a PluginError with its name."""
    try:
        return factory(*args, **kwargs)
    except AvmmError:
        raise
    except Exception as error:
        raise PluginError(name, f"cannot be made: {type(error).__name__}: {error}") from error


def _make_slots(config: MachineConfig, vm: BuildingVm, engine: Engine, undo: ExitStack) -> list[Slot]:
    """As many slots as vCPUs may be in guest mode at once."""
    slots: list[Slot] = []
    count = 1 if config.smp_mode == "turns" else min(config.vcpus, engine.max_in_guest)
    for number in range(count):
        if config.slot == "inline":
            slot: Slot = InlineSlot(vm.clock)
        else:
            name = f"{config.name}-slot{number}"
            slot = ThreadSlot(vm.clock, quantum_ns=config.quantum_us * 1000, alone=config.vcpus == count, name=name)
        undo.callback(slot.close)
        slots.append(slot)
    return slots


def _firmware(config: MachineConfig) -> Firmware | None:
    if config.firmware is not None:
        return Firmware(config.firmware, config.nvram, config.kernel, config.initrd, config.append)
    if config.nvram is not None:
        raise ConfigError("there is no firmware whose variables it could keep", key="nvram")
    return None


def _places(config: MachineConfig, arch: Arch) -> list[DevicePlace]:
    """All devices and where they go: the architecture's usual ones, then (or instead, by name) the description's."""
    places: dict[str, DevicePlace] = {}
    if config.default_devices:
        places = {place.name: place for place in arch.default_devices()}
    for name, device in config.devices.items():
        places[name] = replace(arch.place(name, device.kind, device.base, device.irq), options=device.options)
    return list(places.values())


def _rom_maker(vm: BuildingVm, engine: Engine, vcpus: list[Vcpu], place: DevicePlace) -> Callable[[int], Rom]:
    """What makes memory of a device's own in its place."""

    def make(size: int) -> Rom:
        slot = MemorySlot(place.address, size, name=place.name, read_only=True)
        vm.memory.add(slot)
        engine.map_memory(slot)

        def trap_reads(on: bool) -> None:
            engine.trap_reads(slot, on)
            # The engine has seen to the vCPU whose access brought us here.
            make_vcpus_request([vcpu for vcpu in vcpus if not vcpu.in_guest_thread()], Request.TLB_FLUSH)

        return Rom(slot.buffer, trap_reads)

    return make


def _settle(vm: BuildingVm, served: ServedMmio, vcpus: list[Vcpu], undo: ExitStack) -> None:
    """Have what the engine serves counted, and its queue emptied in time."""

    def settle(index: int, reads: int, writes: int) -> None:
        exits = vcpus[index].stats.exits_by_reason
        exits[ExitReason.MMIO_READ] += reads
        exits[ExitReason.MMIO_WRITE] += writes
        vm.bus.settle()

    vm.bus.take_queued = served.take
    served.settle_with(settle)
    loop = asyncio.get_running_loop()
    loop.add_reader(served.fileno(), vm.bus.settle)
    undo.callback(loop.remove_reader, served.fileno())


def _register_maker(vm: BuildingVm, engine: Engine, place: DevicePlace) -> Callable[[int], ServedRegister]:
    """What makes a register of a device one that is served."""

    def make(offset: int) -> ServedRegister:
        register = ServedRegister()
        if engine.served_mmio is not None:
            engine.served_mmio.serve(place.address + offset, register.words)
            vm.bus.serve(place.address + offset, register)
        return register

    return make


def _add_device(
    vm: BuildingVm,
    arch: Arch,
    plugins: Plugins,
    console: Console,
    place: DevicePlace,
    make_rom: Callable[[int], Rom],
    serve_register: Callable[[int], ServedRegister],
    undo: ExitStack,
) -> DevicePlace:
    """Make one device and put it on the bus."""
    line = None if place.irq is None else IrqLine(arch.irq_chip, place.irq, vm.device_lock, place.name)

    def shut_down(detail: str, status: int) -> None:
        vm.system_event(SystemEvent.SHUTDOWN, detail, status)

    device = _make(
        place.kind,
        plugins.device(place.kind),
        DeviceOptions(
            place.name,
            vm.clock,
            vm.device_lock,
            console,
            line,
            place.options,
            vm.memory,
            shut_down,
            vm.guest_fault,
            make_rom,
            serve_register,
        ),
    )
    undo.callback(device.close)
    vm.bus.add(place.address, device, place.name).irq = line
    return replace(place, device=device)
