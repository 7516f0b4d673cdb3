"""The host's clock: CLOCK_MONOTONIC, with timers to the microsecond on a timerfd of the event loop's."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import time
from collections.abc import Callable

from avmm.clock import NS_PER_S, Timer, TimerHandle, TimerHeap

_TFD_TIMER_ABSTIME = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


# The interpreter's lock is kept: neither call blocks, and giving it up would cost more than the call.
_libc = ctypes.PyDLL(None, use_errno=True)


class _HostTimer:
    """A call that the host's clock will make."""

    __slots__ = ("_clock", "_timer")

    def __init__(self, clock: HostClock, timer: Timer) -> None:
        self._clock, self._timer = clock, timer

    def cancel(self) -> None:
        self._clock.cancel(self._timer)


class HostClock:
    """CLOCK_MONOTONIC. The event loop's own timers round to a millisecond and may fire early; a timerfd does neither."""

    is_host = True
    now_ns = staticmethod(time.monotonic_ns)

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the heap and the timerfd's setting: timers are made on any thread
        self._timers = TimerHeap()
        self._armed_ns = 0
        setting = _Itimerspec()
        self._when, self._setting = setting.value, ctypes.byref(setting)  # guarded by the lock, as the timerfd is
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"timerfd_create: {os.strerror(error)}")

    def start(self) -> None:
        """Begin to fire, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._expired)

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> TimerHandle:
        with self._lock:
            timer = self._timers.add(when_ns, callback)
            self._arm()
        return _HostTimer(self, timer)

    def cancel(self, timer: Timer) -> None:
        """Cancel `timer`; the event loop is not woken for it."""
        with self._lock:
            timer.cancel()
            if timer.when_ns <= self._armed_ns:
                self._armed_ns = 0
                self._arm()
                if not self._armed_ns and self._fd >= 0:
                    self._set(0)

    def _arm(self) -> None:
        """Set the timerfd to the earliest timer, unless it is set to that or to something earlier."""
        due = self._timers.next_ns()
        if due is None or self._fd < 0 or (self._armed_ns and self._armed_ns <= due):
            return
        self._armed_ns = due = max(due, 1)  # a timerfd set to 0 is disarmed
        self._set(due)

    def _set(self, when_ns: int) -> None:
        """Set the timerfd, or disarm it with 0."""
        self._when.seconds, self._when.nanoseconds = divmod(when_ns, NS_PER_S)
        _libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._setting, None)

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        now_ns = time.monotonic_ns()
        with self._lock:
            self._armed_ns = 0
            due = self._timers.take_due(now_ns)
            self._arm()
        self._call(due)

    def _call(self, due: list[Timer]) -> None:
        timers = iter(due)
        try:
            for timer in timers:
                callback = timer.callback  # looked at now: an earlier call may have cancelled this one
                if callback is not None:
                    callback()
        finally:
            if (rest := list(timers)) and self._loop is not None:  # one call raised: the rest must not suffer for it
                self._loop.call_soon(self._call, rest)

    def guest_ran(self, instructions: int) -> None:
        pass

    def idle(self) -> None:
        pass

    def close(self) -> None:
        with self._lock:
            self._timers.clear()
            fd, self._fd = self._fd, -1  # a late call_at() must not set whatever gets the number next
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(fd)
        os.close(fd)
