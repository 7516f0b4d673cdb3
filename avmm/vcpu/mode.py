"""The vCPU's mode (section "VCPU Mode" of the kernel's "KVM VCPU Requests")."""

from __future__ import annotations

from enum import Enum, IntEnum


class VcpuMode(IntEnum):
    """Whether the guest is running, as requesters need to know it.

    Only the vCPU's own thread writes it, with one exception: a kicker moves IN_GUEST_MODE to EXITING_GUEST_MODE.
    """

    OUTSIDE_GUEST_MODE = 0
    IN_GUEST_MODE = 1
    EXITING_GUEST_MODE = 2
    READING_SHADOW_PAGE_TABLES = 3


class Tracepoint(Enum):
    """The places of the run loop that a tracer is told of, in the order of one pass."""

    LOOP_TOP = "loop_top"
    AFTER_REQUESTS = "after_requests"
    IRQS_OFF = "irqs_off"
    """Kicks are latched from here on."""
    MODE_IN = "mode_in"
    AFTER_LAST_CHECK = "after_last_check"
    ENTRY = "kvm_entry"
    """On the slot's thread, at the gate of the guest."""
    EXIT = "kvm_exit"
    """On the slot's thread, outside guest mode again."""
    ENTRY_ABORTED = "entry_aborted"
    POLL = "poll"
    BEFORE_SLEEP_CHECK = "before_sleep_check"
    ASLEEP = "asleep"
    WAKEUP = "kvm_vcpu_wakeup"
    """A halt is over."""
    READING = "reading_spt"
