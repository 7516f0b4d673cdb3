"""avmm: an asynchronous, event-driven virtual machine monitor framework.

For embedding: describe a machine, enter the VM, start it, wait for its end.
"""

from avmm.config import MachineConfig
from avmm.errors import (
    AvmmError,
    ConfigError,
    EngineError,
    LifecycleError,
    LoadError,
    PluginError,
    RequestError,
    UnhandledRequest,
    VmFailed,
)
from avmm.exits import ExitReason
from avmm.halt import Halt, HaltReason
from avmm.instrument import KickAction, VcpuStats
from avmm.lifecycle import State
from avmm.steering import StepResult
from avmm.vcpu.acks import Acknowledgements
from avmm.vcpu.mode import VcpuMode
from avmm.vcpu.requests import NO_ACTION, NO_WAKEUP, REQUEST_MASK, WAIT, Request
from avmm.vcpu.vcpu import Vcpu
from avmm.vm import Vm

__version__ = "0.1.0"

__all__ = [
    "NO_ACTION",
    "NO_WAKEUP",
    "REQUEST_MASK",
    "WAIT",
    "Acknowledgements",
    "AvmmError",
    "ConfigError",
    "EngineError",
    "ExitReason",
    "Halt",
    "HaltReason",
    "KickAction",
    "LifecycleError",
    "LoadError",
    "MachineConfig",
    "PluginError",
    "Request",
    "RequestError",
    "State",
    "StepResult",
    "UnhandledRequest",
    "Vcpu",
    "VcpuMode",
    "VcpuStats",
    "Vm",
    "VmFailed",
    "__version__",
]
