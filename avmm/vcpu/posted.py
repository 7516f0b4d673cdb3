"""A word that takes the role of `requests` (section "Request-less VCPU Kicks").

A kick without a request is almost never correct: when it finds the vCPU about to enter, it does nothing, and the vCPU enters
without having seen anything. The exception is a word that both sides treat just as they treat `requests`: the sender
sets it before it reads the mode, the vCPU reads it after it has set the mode to IN_GUEST_MODE. This is that word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avmm.instrument import KickAction
from avmm.vcpu.kicker import kick

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu


class PostedWord:
    """Bits posted to one vCPU, with the notification flag ON. Made with `Vcpu.post_with()`; at most one a vCPU."""

    __slots__ = ("_bits", "_vcpu", "outstanding", "takes")

    def __init__(self, vcpu: Vcpu) -> None:
        self._vcpu = vcpu
        self._bits = 0
        self.outstanding = False
        """ON: bits were posted that the vCPU has not taken. The run loop refuses to enter while it holds."""
        self.takes = 0
        """Calls of `take()`: a word that is outstanding and that nobody takes would keep the vCPU from entering forever."""

    def post(self, bits: int) -> KickAction:
        """Post `bits` and notify the vCPU, unless a notification is outstanding already. Any thread."""
        with self._vcpu.lock:
            self._bits |= bits
            if self.outstanding:
                return KickAction.NOTHING
            self.outstanding = True
        # ON is set before the mode is read. Pairs with the last look in GuestEntry._commit().
        return kick(self._vcpu)

    def take(self) -> int:
        """All bits posted since the last call; ON is cleared first. The vCPU's own thread, from `flush_hwstate`."""
        with self._vcpu.lock:
            self.outstanding = False
            self.takes += 1
            bits, self._bits = self._bits, 0
        return bits
