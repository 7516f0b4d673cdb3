"""What is done about each request that takes no sleep: the core's own and the architecture's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from avmm.vcpu.requests import Request, request_bit

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu

Handler = Callable[["Vcpu"], None]


def in_order(arch: Mapping[int, Handler]) -> tuple[tuple[int, int, Handler], ...]:
    """(bit, request, handler) of all requests, in the order in which they are handled: the core's, then those of `arch`."""
    generic: dict[int, Handler] = {
        Request.TLB_FLUSH: _flush_tlb,
        Request.MMU_RELOAD: _flush_tlb,
        Request.PENDING_TIMER: _nothing,
        Request.UNBLOCK: _nothing,
    }
    return tuple((request_bit(request), int(request), handler) for request, handler in {**generic, **arch}.items())


def _flush_tlb(vcpu: Vcpu) -> None:
    vcpu.engine.flush_tlb()


def _nothing(vcpu: Vcpu) -> None:
    """The request did its work by being made: it forced another pass through flush_hwstate()."""
