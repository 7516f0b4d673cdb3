"""The requests of arm64, by the numbers Linux gives them (arch/arm64/include/asm/kvm_host.h)."""

from __future__ import annotations

from enum import IntEnum

from avmm.plugin import arch_request


class ArmRequest(IntEnum):
    """What may be asked of an arm64 vCPU beside the architecture-independent requests."""

    IRQ_PENDING = arch_request(1)
    """The vCPU's interrupt pin changed: make another pass through flush_hwstate(). Nothing more to handle."""
    VCPU_RESET = arch_request(2)
    """PSCI CPU_ON: reset, then start where the caller said, on the vCPU's own thread."""
    RELOAD_PMU = arch_request(5)
    """The PMU was changed from outside: look again at what is counted, on the vCPU's own thread."""
