"""The SMC Calling Convention (Arm DEN 0028) and its dispatch to PSCI: what HVC and SMC reach."""

from __future__ import annotations

from avmm.plugin import Hypercall
from avmm_arm64.psci import Psci, PsciCpu

VERSION = 0x8000_0000
"""SMCCC_VERSION (DEN 0028 7.2)."""
ARCH_FEATURES = 0x8000_0001
"""SMCCC_ARCH_FEATURES (DEN 0028 7.3)."""
SMCCC_1_1 = 0x1_0001
NOT_SUPPORTED = -1


def dispatch(call: Hypercall, cpu: PsciCpu, psci: Psci) -> None:
    """Carry out one call made by `cpu`; the result is in x0, and x1 to x3 are zero.

    A non-zero immediate is reserved (DEN 0028 2.9): x0 is NOT_SUPPORTED and nothing else changes. So is x0 for an unknown
    function. HVC and SMC reach the same functions.
    """
    if call.immediate:
        call.result(0, NOT_SUPPORTED)
        return
    function = call.argument(0) & 0xFFFF_FFFF
    if function == VERSION:
        result = SMCCC_1_1
    elif function == ARCH_FEATURES:
        result = 0 if call.argument(1) & 0xFFFF_FFFF in (VERSION, ARCH_FEATURES) else NOT_SUPPORTED
    else:
        result = psci.call(cpu, function, call.argument(1), call.argument(2), call.argument(3))
    call.result(0, result)
    call.result(1, 0)
    call.result(2, 0)
    call.result(3, 0)
