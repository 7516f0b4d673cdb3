"""For plugin authors: everything an architecture, an engine, a device or an instrument needs, and nothing else."""

from avmm.affinity import allowed_cores
from avmm.arch import (
    Arch,
    ArchFactory,
    ArchOptions,
    ArchVcpu,
    BootImage,
    DevicePlace,
    Firmware,
    SystemEvent,
    VmServices,
)
from avmm.bus import Bus, Region
from avmm.clock import Clock, TimerHandle
from avmm.command import Command, CommandFactory
from avmm.config_checks import parse_endpoint, parse_size
from avmm.console import Console
from avmm.console_writer import ConsoleWriter
from avmm.devattr import AttributeGroup, AttributeGroups, AttributeValue, EventFilter, no_such_attribute, resolve
from avmm.device import Device, DeviceFactory, DeviceOptions, Width
from avmm.engine import (
    CountedEvent,
    Counter,
    Engine,
    EngineFactory,
    EngineOptions,
    EventLimit,
    ExternalAbort,
    Hypercall,
    SystemRegister,
    Traps,
    Undefined,
    VcpuEngine,
    event_bit,
    event_index,
)
from avmm.errors import (
    AvmmError,
    ConfigError,
    EngineError,
    LifecycleError,
    LoadError,
    NotApplicable,
    NotThere,
    OperationRefused,
    PluginError,
)
from avmm.exits import (
    BUDGET_EXHAUSTED,
    HALTED,
    KICKED,
    YIELDED,
    BudgetExhausted,
    Debug,
    Exit,
    ExitReason,
    Fault,
    Halted,
    Kicked,
    Yielded,
)
from avmm.figure import BUCKETS, Figure, FigureKind, FigureValue, Histogram
from avmm.halt import Halt, HaltReason
from avmm.instrument import Instrument, InstrumentFactory, KickAction, ObservedVm, VcpuStats
from avmm.irq import IrqChip, IrqLine
from avmm.lifecycle import State
from avmm.lock import DeviceLock
from avmm.log import EventLogger, get_logger
from avmm.memory import GuestMemory, MemorySlot
from avmm.option_table import DeviceTable, OptionTable
from avmm.packed import unpack
from avmm.record import Record
from avmm.rom import Rom
from avmm.served import ServedMmio, ServedRegister, loose_register
from avmm.snapshot import DeviceSnapshot, VcpuSnapshot, VmSnapshot, take_snapshot, take_vcpu_snapshot
from avmm.steering import MAX_STEP, SteeredVm, Steering, StepResult
from avmm.userspace import Leave, UserspaceVm
from avmm.vcpu.acks import Acknowledgements
from avmm.vcpu.mode import TraceHook, Tracepoint, VcpuMode
from avmm.vcpu.posted import PostedWord
from avmm.vcpu.requests import NO_ACTION, NO_WAKEUP, WAIT, Request, arch_request
from avmm.vcpu.tracers import add_tracer, remove_tracer
from avmm.vcpu.vcpu import Vcpu
from avmm.view import CounterView, LineView, TimerView, VcpuView

__all__ = [
    "BUCKETS",
    "BUDGET_EXHAUSTED",
    "HALTED",
    "KICKED",
    "MAX_STEP",
    "NO_ACTION",
    "NO_WAKEUP",
    "WAIT",
    "YIELDED",
    "Acknowledgements",
    "Arch",
    "ArchFactory",
    "ArchOptions",
    "ArchVcpu",
    "AttributeGroup",
    "AttributeGroups",
    "AttributeValue",
    "AvmmError",
    "BootImage",
    "BudgetExhausted",
    "Bus",
    "Clock",
    "Command",
    "CommandFactory",
    "ConfigError",
    "Console",
    "ConsoleWriter",
    "CountedEvent",
    "Counter",
    "CounterView",
    "Debug",
    "Device",
    "DeviceFactory",
    "DeviceLock",
    "DeviceOptions",
    "DevicePlace",
    "DeviceSnapshot",
    "DeviceTable",
    "Engine",
    "EngineError",
    "EngineFactory",
    "EngineOptions",
    "EventFilter",
    "EventLimit",
    "EventLogger",
    "Exit",
    "ExitReason",
    "ExternalAbort",
    "Fault",
    "Figure",
    "FigureKind",
    "FigureValue",
    "Firmware",
    "GuestMemory",
    "Halt",
    "HaltReason",
    "Halted",
    "Histogram",
    "Hypercall",
    "Instrument",
    "InstrumentFactory",
    "IrqChip",
    "IrqLine",
    "KickAction",
    "Kicked",
    "Leave",
    "LifecycleError",
    "LineView",
    "LoadError",
    "MemorySlot",
    "NotApplicable",
    "NotThere",
    "ObservedVm",
    "OperationRefused",
    "OptionTable",
    "PluginError",
    "PostedWord",
    "Record",
    "Region",
    "Request",
    "Rom",
    "ServedMmio",
    "ServedRegister",
    "State",
    "SteeredVm",
    "Steering",
    "StepResult",
    "SystemEvent",
    "SystemRegister",
    "TimerHandle",
    "TimerView",
    "TraceHook",
    "Tracepoint",
    "Traps",
    "Undefined",
    "UserspaceVm",
    "Vcpu",
    "VcpuEngine",
    "VcpuMode",
    "VcpuSnapshot",
    "VcpuStats",
    "VcpuView",
    "VmServices",
    "VmSnapshot",
    "Width",
    "Yielded",
    "add_tracer",
    "allowed_cores",
    "arch_request",
    "event_bit",
    "event_index",
    "get_logger",
    "loose_register",
    "no_such_attribute",
    "parse_endpoint",
    "parse_size",
    "remove_tracer",
    "resolve",
    "take_snapshot",
    "take_vcpu_snapshot",
    "unpack",
]
