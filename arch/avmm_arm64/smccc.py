"""The SMC Calling Convention (Arm DEN 0028) and its dispatch to PSCI: what HVC and SMC reach."""

from __future__ import annotations

from enum import IntEnum

from avmm.plugin import Hypercall
from avmm_arm64.psci import Psci, PsciCpu

NOT_SUPPORTED = -1


class Smccc(IntEnum):
    """Function identifiers of the Arm Architecture Calls (DEN 0028 section 7)."""

    VERSION = 0x8000_0000
    ARCH_FEATURES = 0x8000_0001


SMCCC_1_1 = 0x1_0001


def dispatch(call: Hypercall, cpu: PsciCpu, psci: Psci) -> None:
    """Carry out one call made by `cpu`; the result is in x0, and x1 to x3 are zero.

    A non-zero immediate is reserved (DEN 0028 2.9): x0 is NOT_SUPPORTED and nothing else changes. So is x0 for an unknown
    function. HVC and SMC reach the same functions.
    """
    if call.immediate:
        call.result(0, NOT_SUPPORTED)
        return
    match call.argument(0) & 0xFFFF_FFFF:
        case Smccc.VERSION:
            result = SMCCC_1_1
        case Smccc.ARCH_FEATURES:
            known = call.argument(1) & 0xFFFF_FFFF in (Smccc.VERSION, Smccc.ARCH_FEATURES)
            result = 0 if known else NOT_SUPPORTED
        case function:
            result = psci.call(cpu, function, (call.argument(1), call.argument(2), call.argument(3)))
    call.result(0, result)
    for index in (1, 2, 3):
        call.result(index, 0)
