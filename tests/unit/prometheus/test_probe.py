"""The probe of the event loop."""

from __future__ import annotations

import asyncio
import time

import pytest

from avmm_prometheus import probe
from avmm_prometheus.collector import VmCollector
from tests.unit.prometheus.fakes import FakeVm


async def test_it_measures_the_lag_and_has_requests_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    vm = FakeVm()
    watched = VmCollector().add(vm)
    planned: list[float] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda delay, call: (planned.append(delay), call_later(0, call))[1])
    now_ns = [10**9]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns[0])
    looking = probe.Probe(watched)
    now_ns[0] += 100_000_000 + 3_000_000  # the loop was busy for 3 ms
    while not sum(watched.loop_lag.buckets):
        await asyncio.sleep(0)
    looking.stop()
    assert watched.loop_lag.sum_ns == 3_000_000
    assert [part.timed for part in vm.parts] == [2, 2], "at once, and ten times a second"
    assert planned == [probe.PERIOD_S] * 2
    for _ in range(5):
        await asyncio.sleep(0)
    assert sum(watched.loop_lag.buckets) == 1, "it has stopped"
