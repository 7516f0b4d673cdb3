"""The vCPU's mode (section "VCPU Mode" of the kernel's "KVM VCPU Requests")."""

from __future__ import annotations

from collections.abc import Callable
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
    """What a tracer is told of, with a value where one is named: first the places of the run loop, in the order of one pass."""

    LOOP_TOP = "loop_top"
    AFTER_REQUESTS = "after_requests"
    IRQS_OFF = "irqs_off"
    """Kicks are latched from here on."""
    MODE_IN = "mode_in"
    AFTER_LAST_CHECK = "after_last_check"
    ENTRY = "kvm_entry"
    """On the slot's thread, at the gate of the guest."""
    EXIT = "kvm_exit"
    """On the slot's thread, outside guest mode again. Value: the exit's `ExitReason`, negative when the engine raised."""
    ENTRY_ABORTED = "entry_aborted"
    POLL = "poll"
    BEFORE_SLEEP_CHECK = "before_sleep_check"
    ASLEEP = "asleep"
    WAKEUP = "kvm_vcpu_wakeup"
    """A halt is over."""
    READING = "reading_spt"
    READ = "read_spt"
    """Page tables are no longer read; in OUTSIDE_GUEST_MODE again."""

    # What is done to a vCPU, on the thread of whoever does it, possibly with the vCPU's lock or the device lock held.
    REQUEST_MADE = "request_made"
    """Value: the request's number. Told before the request can be seen."""
    REQUEST_HANDLED = "request_handled"
    """On the vCPU's own thread, before its handler is called. Value: the request's number."""
    KICK = "kick"
    """Value: what it came to, a `KickAction`. Told before the kick takes effect, with the vCPU's lock held."""
    WOKEN = "woken"
    """Taken off its wait queue by something other than a kick. With the vCPU's lock held."""

    # What the architecture tells of a vCPU's interrupts and timers, on any thread, the device lock held unless it is its own.
    IRQ_PIN = "irq_pin"
    """The engine is told the level of its interrupt pin. Value: the level."""
    FIQ_PIN = "fiq_pin"
    """The engine is told the level of its second interrupt pin. Value: the level."""
    PRIVATE_LINE = "private_line"
    """A private interrupt line (a timer's, the PMU's) changed. Value: the interrupt's number, doubled, plus the level."""
    TIMER_ARMED = "timer_armed"
    """The host will look after the vCPU's timers. Value: when, in nanoseconds of the VM's clock."""
    TIMER_EXPIRED = "timer_expired"
    """It does. Value: by how much it is late, in nanoseconds."""


RUN_LOOP = frozenset(list(Tracepoint)[: list(Tracepoint).index(Tracepoint.READ) + 1])
"""The places of the run loop, passed on the vCPU's own thread with no lock held: a tracer may stop the vCPU there."""

TraceHook = Callable[[Tracepoint, int], None]
"""Called with each tracepoint and its value (0 where none is named). Outside RUN_LOOP it must neither block nor make requests."""
