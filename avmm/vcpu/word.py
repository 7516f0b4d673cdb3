"""The word of requests of one vCPU (section "Overview" of the kernel's "KVM VCPU Requests")."""

from __future__ import annotations

import threading

from avmm.clock import Clock
from avmm.errors import RequestError
from avmm.instrument import KickAction, VcpuStats
from avmm.vcpu.mode import TraceHook, Tracepoint
from avmm.vcpu.requests import NO_ACTION, REQUEST_MASK, UNHALT, request_bit

_TIMED = ~request_bit(UNHALT)  # made and taken up by the vCPU itself, in one breath


class RequestWord:
    """A word of requests that anybody may set, and that the vCPU alone clears, with the lock and the figures that go with it.

    `lock` guards what others touch too: the requests, the mode, the acknowledgements, the wait queue and the kick counters. It
    is held for a few instructions and the engine's `kick`, never across an await or another call out.
    """

    __slots__ = ("_made_ns", "_requests", "_to_time", "clock", "lock", "stats", "trace")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.stats = VcpuStats()
        self.trace: TraceHook | None = None
        """Told of every `Tracepoint`; None, the default, costs a test each."""
        self._requests = 0
        self._to_time = 0
        self._made_ns: dict[int, int] = {}
        """When the requests were made that are being timed, by bit. Guarded by `lock`."""

    @property
    def requests(self) -> int:
        """The word of pending requests: bit n is request number n."""
        return self._requests

    def request_pending(self) -> bool:
        """True when any request is pending. Any thread; orders nothing (kvm_request_pending)."""
        return self._requests != 0

    def test_request(self, request: int) -> bool:
        """True when `request` is pending; leaves it so. Any thread; orders nothing (kvm_test_request)."""
        return self._requests & request_bit(request) != 0

    def clear_request(self, request: int) -> None:
        """Clear `request`. For the vCPU's own thread, or when serialised with it ("Clearing Requests")."""
        with self.lock:
            self._requests &= ~request_bit(request)
            self._made_ns.pop(request_bit(request), None)

    def check_request(self, request: int) -> bool:
        """True when `request` was pending; it no longer is. The vCPU's own thread only (kvm_check_request).

        What the requester wrote before it made the request can be read after this returned True.
        """
        bit = request_bit(request)
        if not self._requests & bit:
            return False
        with self.lock:
            self._requests &= ~bit
            made_ns = self._made_ns.pop(bit, -1) if self._made_ns else -1
        if made_ns >= 0:
            self.stats.request_latency[request & REQUEST_MASK].count(self.clock.now_ns() - made_ns)
        return True

    def time_requests(self) -> None:
        """Measure how long the next request of each number waits to be taken up (`VcpuStats.request_latency`). Any thread.

        Most requests need no clock for anything else, so only those are timed that somebody asks for.
        """
        self._to_time = _TIMED

    def make_request(self, request: int) -> None:
        """Set `request`, and do nothing else: it neither wakes nor kicks. Any thread (kvm_make_request).

        RequestError for a NO_ACTION request, which is never pending, and for a number of 64 or more.
        """
        if request & NO_ACTION:
            raise RequestError(f"request {request:#x} has NO_ACTION and is never pending: make it with a kick")
        bit = request_bit(request)
        if self.trace is not None:
            self.trace(Tracepoint.REQUEST_MADE, request & REQUEST_MASK)
        with self.lock:
            self._requests |= bit
            self.stats.requests_made[request & REQUEST_MASK] += 1
            if self._to_time & bit:
                self._to_time &= ~bit
                self._made_ns.setdefault(bit, self.clock.now_ns())

    def count_waits(self, request: int, made: int, handled: int, ipis: int) -> None:
        """Count requests with WAIT and NO_WAKEUP that the engine made and handled by itself. Own thread.

        `ipis` of the `made` ones found the vCPU in the guest; their requesters have waited for it.
        """
        stats, number = self.stats, request & REQUEST_MASK
        with self.lock:
            stats.requests_made[number] += made
            stats.kicks[KickAction.IPI] += ipis
            stats.kicks[KickAction.NOTHING] += made - ipis
            stats.ipis_acknowledged += ipis
        stats.requests_handled[number] += handled

    def discard_requests(self) -> None:
        """Clear everything pending. Only while the vCPU's task does not run ("Clearing Requests")."""
        with self.lock:
            self._requests = 0
            self._made_ns.clear()
