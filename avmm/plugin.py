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
from avmm.config import parse_endpoint
from avmm.console import Console
from avmm.device import Device, DeviceFactory, DeviceOptions, Width
from avmm.engine import (
    Counter,
    Engine,
    EngineFactory,
    EngineOptions,
    ExternalAbort,
    Hypercall,
    SystemRegister,
    Traps,
    Undefined,
    VcpuEngine,
)
from avmm.errors import ConfigError, EngineError, LoadError, PluginError
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
from avmm.lock import DeviceLock
from avmm.memory import GuestMemory, MemorySlot
from avmm.vcpu.acks import Acknowledgements
from avmm.vcpu.mode import Tracepoint, VcpuMode
from avmm.vcpu.posted import PostedWord
from avmm.vcpu.requests import NO_ACTION, NO_WAKEUP, WAIT, Request, arch_request
from avmm.vcpu.vcpu import Vcpu

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
    "BootImage",
    "BudgetExhausted",
    "Bus",
    "Clock",
    "ConfigError",
    "Console",
    "Counter",
    "Debug",
    "Device",
    "DeviceFactory",
    "DeviceLock",
    "DeviceOptions",
    "DevicePlace",
    "Engine",
    "EngineError",
    "EngineFactory",
    "EngineOptions",
    "Exit",
    "ExitReason",
    "ExternalAbort",
    "Fault",
    "Figure",
    "FigureKind",
    "FigureValue",
    "GuestMemory",
    "Halted",
    "Histogram",
    "Hypercall",
    "Instrument",
    "InstrumentFactory",
    "IrqChip",
    "IrqLine",
    "KickAction",
    "Kicked",
    "LoadError",
    "MemorySlot",
    "ObservedVm",
    "PluginError",
    "PostedWord",
    "Region",
    "Request",
    "SystemEvent",
    "SystemRegister",
    "TimerHandle",
    "Tracepoint",
    "Traps",
    "Undefined",
    "Vcpu",
    "VcpuEngine",
    "VcpuMode",
    "VcpuStats",
    "VmServices",
    "Width",
    "Yielded",
    "arch_request",
    "parse_endpoint",
]
