"""The generic timer (Arm ARM D12): the EL1 virtual and physical timers of one vCPU, and what wakes the host for them."""

from __future__ import annotations

from collections.abc import Callable

from avmm.plugin import Clock, DeviceLock, Histogram, TimerHandle, Tracepoint, Vcpu

_NS_PER_S = 1_000_000_000
_U64 = (1 << 64) - 1
_ENABLE, _IMASK, _ISTATUS = 1 << 0, 1 << 1, 1 << 2
_FAR_NS = 1 << 62
"""Host time that does not come (146 years): nothing is armed for it."""


class TimerPpis:
    """The private interrupts (INTIDs 16 to 31) of the two timers, the same on every vCPU of a VM."""

    def __init__(self, virtual: int = 27, physical: int = 30) -> None:
        self.virtual, self.physical = virtual, physical


class SystemCounter:
    """A counter all vCPUs share: `clock` in ticks of `frequency_hz`, less `offset`, modulo 2**64."""

    def __init__(self, clock: Clock, frequency_hz: int, offset: int = 0) -> None:
        self.clock, self.frequency_hz, self.offset = clock, frequency_hz, offset

    def raw(self) -> int:
        """The ticks of the clock, before the offset."""
        return self.clock.now_ns() * self.frequency_hz // _NS_PER_S

    def count(self) -> int:
        """The counter, as CNTVCT_EL0 or CNTPCT_EL0 reads."""
        return self.raw() - self.offset & _U64

    def when_ns(self, value: int) -> int:
        """The first nanosecond of the clock at which the counter is at or beyond `value`; 0 when it is already."""
        raw = self.raw()
        count = raw - self.offset & _U64
        if value <= count:
            return 0
        return -(-(raw + value - count) * _NS_PER_S // self.frequency_hz)


class Timer:
    """One timer's CTL, CVAL and TVAL. Owner: the device lock."""

    __slots__ = ("_control", "_counter", "_cval", "due_ns", "fires", "line", "waited")

    def __init__(self, counter: SystemCounter) -> None:
        self._counter = counter
        self.line = False
        """The level the interrupt controller was told last."""
        self.fires = 0
        """Times the line went high."""
        self._cval = 0
        self.reset()

    def reset(self) -> None:
        """Disabled and unmasked; CVAL is not reset."""
        self._control = 0
        self.recompute()

    def recompute(self) -> None:
        """A register or the counter's offset changed: find out again when the line is due."""
        armed = self._control & (_ENABLE | _IMASK) == _ENABLE
        self.due_ns = self._counter.when_ns(self._cval) if armed else None
        """When the line goes high, in nanoseconds of the clock; None when it cannot."""
        self.waited = bool(self.due_ns)
        """The line is due in the future, as seen when this was computed."""

    def read_ctl(self) -> int:
        """CNTx_CTL_EL0; ISTATUS shows the condition whether enabled or not, as KVM has it."""
        return self._control | _ISTATUS * (self._cval <= self._counter.count())

    def write_ctl(self, value: int) -> None:
        """CNTx_CTL_EL0: ENABLE and IMASK; the rest is read-only or RES0."""
        self._control = value & (_ENABLE | _IMASK)
        self.recompute()

    def read_cval(self) -> int:
        """CNTx_CVAL_EL0."""
        return self._cval

    def write_cval(self, value: int) -> None:
        """CNTx_CVAL_EL0, unsigned, 64 bits."""
        self._cval = value & _U64
        self.recompute()

    def read_tval(self) -> int:
        """CNTx_TVAL_EL0: the 32-bit distance to CVAL, zero-extended; negative (bit 31) once expired."""
        return self._cval - self._counter.count() & 0xFFFF_FFFF

    def write_tval(self, value: int) -> None:
        """CNTx_TVAL_EL0: CVAL becomes the counter plus the sign-extended 32-bit value."""
        signed = (value & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31)
        self.write_cval(self._counter.count() + signed)


class VcpuTimers:
    """The two timers of one vCPU, their interrupt lines, and the one host timer that fires for both. Owner: the device lock.

    `set_line(intid, level)` drives a private interrupt. The host timer is armed for the earlier of the two whether the vCPU is
    in the guest or blocked: raising the line kicks or wakes it. It is never re-armed for a later time, only looked at when it
    fires, so moving a timer back costs the host nothing.
    """

    __slots__ = (
        "_armed_ns",
        "_clock",
        "_handle",
        "_lock",
        "_ppis",
        "_set_line",
        "_stopped",
        "_vcpu",
        "lateness",
        "next_ns",
        "physical",
        "virtual",
    )

    def __init__(
        self,
        virtual: SystemCounter,
        physical: SystemCounter,
        ppis: TimerPpis,
        lock: DeviceLock,
        set_line: Callable[[int, bool], None],
        vcpu: Vcpu | None = None,
    ) -> None:
        """`vcpu` is whose tracer is told when the host timer is armed and when it expires."""
        self.virtual, self.physical = Timer(virtual), Timer(physical)
        self._clock, self._ppis, self._lock, self._set_line = virtual.clock, ppis, lock, set_line
        self._vcpu = vcpu
        self._handle: TimerHandle | None = None
        self._armed_ns: int | None = None
        self._stopped = False
        self.next_ns: int | None = None
        """The earliest time at which a line that is low goes high."""
        self.lateness = Histogram()
        """From the time a line was due to its going high, for timers set to the future."""

    def reset(self) -> None:
        """PSCI CPU_ON and system reset: both timers disabled, lines low, counters as they are."""
        self._stopped = False
        self.virtual.reset()
        self.physical.reset()
        self.update()

    def stop(self) -> None:
        """The vCPU is powered off: the registers stay, and no timer wakes it until `reset()`."""
        self._stopped = True
        self._disarm()

    def update(self) -> None:
        """Bring both lines up to date and arm the host timer for what comes next."""
        now_ns = self._clock.now_ns()
        next_ns: int | None = None
        for timer, intid in ((self.virtual, self._ppis.virtual), (self.physical, self._ppis.physical)):
            due_ns = timer.due_ns
            level = due_ns is not None and due_ns <= now_ns
            if due_ns is not None and not level:
                next_ns = due_ns if next_ns is None else min(due_ns, next_ns)
            if level != timer.line:
                timer.line = level
                timer.fires += level
                if due_ns and timer.waited and level:
                    timer.waited = False
                    self.lateness.count(now_ns - due_ns)
                self._set_line(intid, level)
        self.next_ns = next_ns
        if next_ns is not None and next_ns < _FAR_NS and not self._stopped:
            self._arm(next_ns)

    def update_due(self) -> None:
        """`update()` if there is something to update. Before every entry, so it costs nothing without an armed timer."""
        if self.next_ns is not None and self.next_ns <= self._clock.now_ns():
            with self._lock:
                self.update()

    def sleep(self) -> int | None:
        """The vCPU's own thread sleeps, and wakes when this says, in nanoseconds of the clock: the host timer may rest."""
        with self._lock:
            self._disarm()
            return self.next_ns

    def wake(self) -> None:
        """It has slept: both lines up to date, and the host timer armed again."""
        with self._lock:
            self.update()

    def _arm(self, when_ns: int) -> None:
        if self._armed_ns is None or when_ns < self._armed_ns:
            self._disarm()
            self._armed_ns = when_ns
            if self._vcpu is not None and self._vcpu.trace is not None:
                self._vcpu.trace(Tracepoint.TIMER_ARMED, when_ns)
            self._handle = self._clock.call_at(when_ns, self._expired)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._armed_ns = None

    def _expired(self) -> None:
        """The host timer fired, on the event loop's thread; perhaps for a time that is no longer wanted."""
        with self._lock:
            if self._stopped:
                return  # it was on its way when the vCPU was powered off
            # One that was replaced while it waited for the lock must not make us forget the new one.
            if self._armed_ns is not None and self._armed_ns <= (now_ns := self._clock.now_ns()):
                if self._vcpu is not None and self._vcpu.trace is not None:
                    self._vcpu.trace(Tracepoint.TIMER_EXPIRED, now_ns - self._armed_ns)
                self._handle = self._armed_ns = None
            self.update()
