"""The test kit: scripted guests, a toy architecture, and contract tests for plugins.

`ScriptedVm` is a whole VM on which everything but the guest's instructions is real. `avmm.testing.contract` has test classes to
derive from, `EngineContract` and `DeviceContract`, and `avmm.testing.pytest_plugin` has fixtures; both need pytest.
"""

from avmm.testing.scripted import ScriptedEngine, create_engine
from avmm.testing.scripted_vcpu import Program, Script, ScriptedVcpu
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
