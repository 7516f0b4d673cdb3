"""The kicker: what it takes for a request to be seen (sections "VCPU Kicks" to "Waiting for Acknowledgements").

A kick comes to exactly one of three things: the vCPU sleeps and is woken, or it is in guest mode and is sent an IPI, or nothing,
because it will look at its requests before it enters the guest anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from avmm.instrument import KickAction
from avmm.vcpu.acks import Acknowledgements
from avmm.vcpu.mode import Tracepoint, VcpuMode
from avmm.vcpu.requests import NO_ACTION, NO_WAKEUP, WAIT

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu


def make_vcpus_request(vcpus: Iterable[Vcpu], request: int) -> Acknowledgements:
    """Make `request` of each of `vcpus` and do what it takes for it to be seen. Any thread (kvm_make_vcpus_request_mask).

    The request's flags decide: NO_WAKEUP leaves sleepers asleep, WAIT gives acknowledgements to wait for, NO_ACTION leaves
    nothing pending. The result is true when at least one IPI was sent.
    """
    acks = Acknowledgements()
    for vcpu in vcpus:
        # Bit first, mode second. Pairs with GuestEntry._commit(), which sets the mode before it looks at the bits: whichever way
        # the two race, either the vCPU sees the bit or we see IN_GUEST_MODE. No await between the two lines.
        if not request & NO_ACTION:
            vcpu.make_request(request)
        if request & NO_WAKEUP or not vcpu.wake_up(kicked=True):
            _send_ipi_if_needed(vcpu, acks, wait=bool(request & WAIT))
    return acks


def kick(vcpu: Vcpu) -> KickAction:
    """Kick without a request (kvm_vcpu_kick). Internal: only a word that takes the role of `requests` may use it (posted.py).

    Knows no flags: always wakes a sleeper, and sends an IPI only to IN_GUEST_MODE.
    """
    if vcpu.wake_up(kicked=True):
        return KickAction.WAKEUP
    return _send_ipi_if_needed(vcpu, Acknowledgements(), wait=False)


def _send_ipi_if_needed(vcpu: Vcpu, acks: Acknowledgements, *, wait: bool) -> KickAction:
    """Send an IPI if the mode calls for one, and count it in `acks`, which then expects an acknowledgement if `wait`."""
    own = vcpu.in_guest_thread()
    with vcpu.lock:
        mode = vcpu.mode
        if mode is VcpuMode.READING_SHADOW_PAGE_TABLES:
            own = vcpu.in_own_thread()
        in_guest = mode is VcpuMode.IN_GUEST_MODE
        if in_guest:
            # The first to move the mode on sends the IPI; later kicks find EXITING and need not ("IPI Reduction").
            vcpu.mode = VcpuMode.EXITING_GUEST_MODE
            vcpu.kicked_ns = vcpu.clock.now_ns()
        # WAIT is not coalesced: it asks for an acknowledgement of everything that is not OUTSIDE.
        needs_ipi = mode is not VcpuMode.OUTSIDE_GUEST_MODE if wait else in_guest
        action = KickAction.IPI if needs_ipi and not own else KickAction.NOTHING
        vcpu.stats.kicks[action] += 1
        if vcpu.trace is not None:
            vcpu.trace(Tracepoint.KICK, action)
        if action is KickAction.IPI:
            if wait:
                acks.expect(vcpu.kicked_ns if in_guest else vcpu.clock.now_ns())
                vcpu.acks.append(acks)
            else:
                acks.ipis += 1
        # A reader of page tables acknowledges when it is done: it has no entry that would have to end. A trap handled in place
        # that speaks to its own vCPU sends no IPI, but its entry must end all the same. Under the lock: the vCPU cannot say that
        # it is outside before the kick has arrived, so that none comes late, to the next entry or to an engine that is closed.
        if needs_ipi and mode is not VcpuMode.READING_SHADOW_PAGE_TABLES:
            vcpu.engine.kick()
    return action
