"""Several tracers of one vCPU, behind its one hook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avmm.vcpu.mode import TraceHook, Tracepoint

if TYPE_CHECKING:
    from avmm.vcpu.vcpu import Vcpu


class _Tracers:
    """A hook that tells several. Never changed, only replaced: whoever calls it meanwhile is not disturbed."""

    __slots__ = ("hooks",)

    def __init__(self, hooks: tuple[TraceHook, ...]) -> None:
        self.hooks = hooks

    def __call__(self, point: Tracepoint, value: int) -> None:
        for hook in self.hooks:
            hook(point, value)


def add_tracer(vcpu: Vcpu, hook: TraceHook) -> None:
    """Have `hook` told of `vcpu`'s tracepoints from now on, beside all that are told already. The event loop's thread."""
    _set(vcpu, (*_hooks(vcpu), hook))


def remove_tracer(vcpu: Vcpu, hook: TraceHook) -> None:
    """Tell `hook` no more; the pass under way may still do so. Harmless when it is not told. The event loop's thread."""
    _set(vcpu, tuple(one for one in _hooks(vcpu) if one is not hook))


def _hooks(vcpu: Vcpu) -> tuple[TraceHook, ...]:
    present = vcpu.trace
    if present is None:
        return ()
    return present.hooks if isinstance(present, _Tracers) else (present,)


def _set(vcpu: Vcpu, hooks: tuple[TraceHook, ...]) -> None:
    vcpu.trace = None if not hooks else hooks[0] if len(hooks) == 1 else _Tracers(hooks)
