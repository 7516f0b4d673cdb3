"""When a vCPU sleeps."""

from __future__ import annotations

from avmm import Vcpu


def sleeps(vcpu: Vcpu) -> bool:
    """True from its last look for something to run for until it is awake.

    `Vcpu.asleep` says so a little earlier, when the vCPU is on its queue: what happens then, it may still find without any sleep.
    """
    return vcpu.asleep and vcpu.stats.slept_ns >= 0
