"""The test kit: scripted guests, a toy architecture, and contract tests for plugins.

`ScriptedVm` is a whole VM on which everything but the guest's instructions is real; `EngineContract` and `DeviceContract` are
test classes to derive from. `avmm.testing.pytest_plugin` offers fixtures (loaded by itself, entry point `pytest11`).
"""

from avmm.testing.scripted import Program, Script, ScriptedEngine, ScriptedVcpu, create_engine
from avmm.testing.steps import (
    Call,
    Compute,
    FlushAllTlbs,
    MmioRead,
    MmioWrite,
    ReadSystemRegister,
    Spin,
    Step,
    WriteSystemRegister,
)
from avmm.testing.toy import DEVICES_BASE, DEVICES_STRIDE, RAM_BASE, ToyArch, ToyCall, ToyRequest, ToyVcpu, create_arch
from avmm.testing.vm import ScriptedVm, ToyPlugins, in_thread

__all__ = [
    "DEVICES_BASE",
    "DEVICES_STRIDE",
    "RAM_BASE",
    "Call",
    "Compute",
    "FlushAllTlbs",
    "MmioRead",
    "MmioWrite",
    "Program",
    "ReadSystemRegister",
    "Script",
    "ScriptedEngine",
    "ScriptedVcpu",
    "ScriptedVm",
    "Spin",
    "Step",
    "ToyArch",
    "ToyCall",
    "ToyPlugins",
    "ToyRequest",
    "ToyVcpu",
    "WriteSystemRegister",
    "create_arch",
    "create_engine",
    "in_thread",
]
