"""Pages: their forms, and one for all who ask at the same time."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from avmm_prometheus.collector import VmCollector
from avmm_prometheus.pages import BREAK_S, Pages
from tests.unit.prometheus.fakes import FakeVm
from tests.unit.prometheus.scrape import Page

OPEN_METRICS = "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"


class SlowCollector(VmCollector):
    """A collector that is held up in every page until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on, self.made = threading.Event(), threading.Event(), 0

    def lines(self, *, openmetrics: bool, breathe: Callable[[], None] = lambda: None) -> Iterator[str]:
        self.made += 1
        self.begun.set()
        assert self.go_on.wait(60)
        yield f"avmm_page {self.made}\n"


def test_a_page_is_packed_for_whoever_likes_that() -> None:
    collector = VmCollector()
    collector.add(FakeVm())
    pages = Pages(collector)
    form, body = pages.get("", "gzip")
    assert form.gzip
    plain = pages.get("", "")[1]
    assert Page(gzip.decompress(body).decode()).samples.keys() == Page(plain.decode()).samples.keys()
    assert len(body) < len(plain) / 5


def test_the_process_is_on_the_page_in_both_formats() -> None:
    pages = Pages(VmCollector())
    for accept in ("", OPEN_METRICS):
        form, body = pages.get(accept, "")
        assert b"process_resident_memory_bytes " in body
        assert body.count(b"# EOF") == form.openmetrics


def test_who_asks_at_the_same_time_shares_a_page_begun_after_the_asking() -> None:
    collector = SlowCollector()
    pages, bodies = Pages(collector), []
    ask = [threading.Thread(target=lambda: bodies.append(pages.get("", "")[1])) for _ in range(200)]
    ask[0].start()
    assert collector.begun.wait(60)
    for thread in ask[1:]:
        thread.start()
    while pages._asking < 200:  # all of them have asked while the first page was being made
        time.sleep(0)
    collector.go_on.set()
    for thread in ask:
        thread.join(60)
    assert collector.made == 2, "the first had begun before the others asked; one more serves all of them"
    assert sum(b"avmm_page 1\n" in body for body in bodies) == 1
    assert sum(b"avmm_page 2\n" in body for body in bodies) == 199
    assert not pages._shared, "nobody asks any more"


def test_a_page_that_fails_leaves_the_next_one_whole() -> None:
    collector = VmCollector()
    vm = FakeVm()
    collector.add(vm)
    pages = Pages(collector)
    vm.state = lambda: 1 / 0  # type: ignore[assignment, return-value, method-assign]
    with pytest.raises(ZeroDivisionError):
        pages.get("", "")
    vm.state = lambda: "running"  # type: ignore[method-assign]
    assert Page(pages.get("", "")[1].decode()).value("avmm_vm_state", vm="vm0", state="running") == 1
    assert not pages._asking


def test_a_long_page_is_made_with_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    collector, breaks, now = VmCollector(), [], [0.0]
    collector.add(FakeVm("big", vcpus=1000))
    pages = Pages(collector)

    def tick() -> float:
        now[0] += 0.0004
        return now[0]

    monkeypatch.setattr("avmm_prometheus.pages.time.perf_counter", tick)
    monkeypatch.setattr("avmm_prometheus.pages.time.sleep", breaks.append)
    pages.get("", "")
    assert len(breaks) > 100
    assert set(breaks) == {BREAK_S}
