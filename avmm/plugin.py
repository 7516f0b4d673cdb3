"""For plugin authors: everything an architecture, an engine, a device or an instrument needs, and nothing else."""

from avmm.arch import (
    Arch,
    ArchFactory,
    ArchOptions,
    ArchVcpu,
    BootImage,
    DevicePlace,
    SystemEvent,
    VmServices,
)
from avmm.bus import Bus, Region
from avmm.clock import Clock, TimerHandle
from avmm.command import Command, CommandFactory
from avmm.config import parse_endpoint
from avmm.console import Console
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
from avmm.errors import ConfigError, EngineError, LoadError, NotApplicable, OperationRefused, PluginError
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
from avmm.halt import Halt, HaltReason
from avmm.instrument import (
    BUCKETS,
    Figure,
    FigureKind,
    FigureValue,
    Histogram,
    Instrument,
    InstrumentFactory,
    KickAction,
    ObservedVm,
    VcpuStats,
)
from avmm.irq import IrqChip, IrqLine
from avmm.lifecycle import State
from avmm.lock import DeviceLock
from avmm.memory import GuestMemory, MemorySlot
from avmm.snapshot import DeviceSnapshot, VcpuSnapshot, VmSnapshot, take_snapshot
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
    "BootImage",
    "BudgetExhausted",
    "Bus",
    "Clock",
    "Command",
    "CommandFactory",
    "ConfigError",
    "Console",
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
    "Engine",
    "EngineError",
    "EngineFactory",
    "EngineOptions",
    "EventFilter",
    "EventLimit",
    "Exit",
    "ExitReason",
    "ExternalAbort",
    "Fault",
    "Figure",
    "FigureKind",
    "FigureValue",
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
    "LineView",
    "LoadError",
    "MemorySlot",
    "NotApplicable",
    "ObservedVm",
    "OperationRefused",
    "PluginError",
    "PostedWord",
    "Region",
    "Request",
    "State",
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
    "arch_request",
    "event_bit",
    "event_index",
    "no_such_attribute",
    "parse_endpoint",
    "remove_tracer",
    "resolve",
    "take_snapshot",
]
