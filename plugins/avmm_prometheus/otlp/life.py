"""The life of one VM as spans: one for the whole, and below it one for each stay in a state."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.trace import Span, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from avmm.plugin import HaltReason, ObservedVm, State


class Life:
    """The spans of `vm` from now to its end. Owner: the event loop."""

    def __init__(self, vm: ObservedVm, tracer: Tracer, carrier: Mapping[str, str]) -> None:
        """`carrier` may hold a `traceparent` (W3C Trace Context): the VM's span is then a part of that trace."""
        self._vm, self._tracer = vm, tracer
        config = vm.config
        self._attributes = {"avmm.vm.name": vm.name}
        self._whole = tracer.start_span(
            "vm",
            TraceContextTextMapPropagator().extract(carrier),
            attributes={
                **self._attributes,
                "avmm.vm.arch": config.arch,
                "avmm.vm.engine": config.engine,
                "avmm.vm.cpu": config.cpu,
                "avmm.vm.vcpus": config.vcpus,
                "avmm.vm.memory_bytes": config.memory_bytes,
            },
        )
        self._stay = self._enter(vm.lifecycle.state)
        self._unwatch = vm.lifecycle.watch(self._moved)

    def _enter(self, state: State) -> Span:
        return self._tracer.start_span(state.value, set_span_in_context(self._whole), attributes=self._attributes)

    def _moved(self, to: State) -> None:
        if to is State.HALTED:
            self.end()
        else:
            self._stay.end()
            self._stay = self._enter(to)

    def end(self) -> None:
        """End the spans, with how the VM ended. Harmless when they have ended."""
        if not self._whole.is_recording():
            return
        self._unwatch()
        halt = self._vm.halt
        if halt is not None:
            self._whole.set_attribute("avmm.vm.halt.reason", halt.reason.value)
            self._whole.set_attribute("avmm.vm.halt.detail", halt.detail)
            if halt.reason in (HaltReason.CRASH, HaltReason.FAILED):
                self._whole.set_status(Status(StatusCode.ERROR, str(halt)))
        self._stay.end()
        self._whole.end()
