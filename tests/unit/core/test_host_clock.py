"""The host's clock, with a timerfd and a time that are not the host's."""

from __future__ import annotations

import asyncio

import pytest

from avmm import host_clock
from avmm.host_clock import HostClock


class Fd:
    """A timerfd as it is set, and CLOCK_MONOTONIC moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000
        self.armed_ns = 0
        self.settings: list[int] = []
        self.real = host_clock._libc
        monkeypatch.setattr(host_clock, "_libc", self)
        monkeypatch.setattr(host_clock.time, "monotonic_ns", lambda: self.now_ns)

    def timerfd_create(self, clock: int, flags: int) -> int:
        return self.real.timerfd_create(clock, flags)

    def timerfd_settime(self, fd: int, flags: int, new: object, old: object) -> int:
        value = new._obj.value  # type: ignore[attr-defined]
        self.armed_ns = value.seconds * 1_000_000_000 + value.nanoseconds
        self.settings.append(self.armed_ns)
        return 0

    def expire(self, clock: HostClock, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.now_ns >= self.armed_ns
        monkeypatch.setattr(host_clock.os, "read", lambda fd, count: b"\1" + bytes(7))
        clock._expired()


@pytest.fixture
def fd(monkeypatch):
    return Fd(monkeypatch)


@pytest.fixture
def host(fd):
    clock = HostClock()
    yield clock
    clock.close()


def test_the_timerfd_is_set_to_the_earliest_timer(host, fd):
    host.call_at(5_000_000_123, lambda: None)
    host.call_at(9_000, lambda: None)
    host.call_at(10_000, lambda: None)
    assert fd.settings == [5_000_000_123, 9_000]


def test_a_timer_at_zero_does_not_disarm_it(host, fd):
    host.call_at(0, lambda: None)
    assert fd.settings == [1]


def test_what_is_due_is_called_and_the_rest_is_armed(host, fd, monkeypatch):
    calls = []
    host.call_at(2_000, lambda: calls.append(2_000))
    host.call_at(3_000, lambda: calls.append(3_000))
    host.call_at(8_000, lambda: calls.append(8_000))
    fd.now_ns = 3_500
    fd.expire(host, monkeypatch)
    assert calls == [2_000, 3_000]
    assert fd.armed_ns == 8_000


def test_a_wake_up_that_comes_early_calls_nothing(host, fd, monkeypatch):
    calls = []
    timer = host.call_at(2_000, lambda: calls.append(1))
    host.call_at(5_000, lambda: calls.append(2))
    fd.now_ns = 1_500
    fd.armed_ns = 0  # as if it had been woken
    fd.expire(host, monkeypatch)
    assert calls == []
    assert fd.armed_ns == 2_000
    timer.cancel()


def test_nobody_is_woken_for_a_timer_that_was_cancelled(host, fd):
    first, second, third = (host.call_at(when_ns, lambda: None) for when_ns in (2_000, 5_000, 9_000))
    second.cancel()
    assert fd.settings == [2_000]
    first.cancel()
    assert fd.settings == [2_000, 9_000]
    third.cancel()
    assert fd.settings == [2_000, 9_000, 0]
    host.call_at(7_000, lambda: None)
    assert fd.armed_ns == 7_000


def test_one_due_timer_cancels_another(host, fd, monkeypatch):
    calls, timers = [], []
    host.call_at(2_000, lambda: timers[0].cancel())
    timers.append(host.call_at(2_000, lambda: calls.append(1)))
    fd.now_ns = 2_000
    fd.expire(host, monkeypatch)
    assert calls == []


def test_after_closing_no_timerfd_is_set(fd):
    clock = HostClock()
    clock.call_at(5_000, lambda: None)
    clock.close()
    settings = list(fd.settings)
    clock.call_at(6_000, lambda: None)
    assert fd.settings == settings


def test_a_host_without_timerfd_says_so(fd, monkeypatch):
    monkeypatch.setattr(fd, "timerfd_create", lambda clock, flags: -1)
    with pytest.raises(OSError, match="timerfd_create"):
        HostClock()


async def test_a_call_that_raises_does_not_cost_the_others_theirs(fd, monkeypatch):
    clock, calls, raised = HostClock(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context["exception"]))
    clock._loop = asyncio.get_running_loop()
    for number in range(4):
        clock.call_at(2_000 + number, lambda number=number: calls.append(1 // (number % 2)))
    fd.now_ns = 5_000
    with pytest.raises(ZeroDivisionError):
        fd.expire(clock, monkeypatch)
    for _ in range(5):
        await asyncio.sleep(0)
    assert calls == [1, 1]
    assert [type(error) for error in raised] == [ZeroDivisionError]
    monkeypatch.undo()
    clock.close()


async def test_a_real_timer_fires_and_not_early():
    clock = HostClock()
    clock.start()
    fired = asyncio.get_running_loop().create_future()
    due = clock.now_ns() + 1_000_000
    clock.call_at(due, lambda: fired.set_result(clock.now_ns()))
    assert await fired >= due
    clock.close()
