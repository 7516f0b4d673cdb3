"""Request numbers and flags (section "VCPU Request Internals" of the kernel's "KVM VCPU Requests").

A request is an integer: the low 8 bits are its number, a bit index into the vCPU's `requests` word; the bits above are flags.
Numbers 0 to 7 are architecture independent, 8 to 63 belong to the architecture.
"""

from __future__ import annotations

from enum import IntEnum

from avmm.errors import RequestError

REQUEST_MASK = 0xFF
"""The bits of a request that are its number (KVM_REQUEST_MASK)."""

NO_WAKEUP = 1 << 8
"""Only a vCPU in guest mode needs to see it now; a sleeper sees it when it wakes for another reason (KVM_REQUEST_NO_WAKEUP)."""

WAIT = 1 << 9
"""The requester waits until every vCPU that got an IPI for it has acknowledged that (KVM_REQUEST_WAIT)."""

NO_ACTION = 1 << 10
"""Nothing is pending afterwards: only the IPI and its acknowledgement are wanted (KVM_REQUEST_NO_ACTION)."""

REQUEST_FLAGS = NO_WAKEUP | WAIT | NO_ACTION
ARCH_BASE = 8
NUMBERS = 64
"""The width of the `requests` word in bits."""


class Request(IntEnum):
    """The architecture-independent requests."""

    TLB_FLUSH = 0 | WAIT | NO_WAKEUP
    """Forget all cached translations of guest addresses before entering the guest again."""
    MMU_RELOAD = 1 | WAIT | NO_WAKEUP
    """Guest memory slots changed: rebuild what was derived from them."""
    PENDING_TIMER = 2
    """A timer went off on the vCPU's behalf: look at the timers."""
    UNHALT = 3
    """Made by `block()` when it ends because the vCPU became runnable, and cleared by its caller."""
    VM_DEAD = 4 | WAIT
    """The VM is over: leave the run loop. Wakes sleepers, unlike the kernel's (docs/departures.md)."""
    UNBLOCK = 5
    """End a block, whatever it waits for."""
    SLEEP = 6 | WAIT | NO_WAKEUP
    """Look at power-off and pause: sleep as long as either holds."""
    OUTSIDE_GUEST_MODE = NO_ACTION | WAIT | NO_WAKEUP
    """Make sure the vCPU has left the guest; nothing is left pending."""


# Looking a member up in its enum takes longer than what is done with it; this one is made and cleared at every halt.
UNHALT = int(Request.UNHALT)


def arch_request(number: int, flags: int = 0) -> int:
    """The architecture's own request `number` (0 to 55) with `flags`; RequestError beyond (KVM_ARCH_REQ_FLAGS)."""
    if not 0 <= number < NUMBERS - ARCH_BASE:
        raise RequestError(f"architecture request {number}: numbers go from 0 to {NUMBERS - ARCH_BASE - 1}")
    if flags & ~REQUEST_FLAGS:
        raise RequestError(f"architecture request {number}: flags {flags:#x} are not among {REQUEST_FLAGS:#x}")
    return ARCH_BASE + number | flags


def request_bit(request: int) -> int:
    """The bit of `request` in the `requests` word; RequestError when its number is 64 or more."""
    number = request & REQUEST_MASK
    if number >= NUMBERS:
        raise RequestError(f"request {request:#x}: numbers go from 0 to {NUMBERS - 1}")
    return 1 << number
