"""Pushing by OTLP, to a receiver of our own: the same figures as on the page."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import structlog

from avmm.errors import ConfigError
from avmm.exits import ExitReason
from avmm.figure import Figure, FigureKind, Histogram
from avmm.testing import ScriptedVm, Spin
from avmm_prometheus.collector import VmCollector
from avmm_prometheus.histogram import COARSE, FINE
from avmm_prometheus.otlp import pusher
from avmm_prometheus.otlp.instrument import create_instrument
from tests.unit.prometheus.fakes import FakeVm
from tests.unit.prometheus.receiver import Push, Receiver, receiver
from tests.unit.prometheus.scrape import Page


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(pusher, "LAST_S", 60)  # however busy the host is, the last push is taken
    with receiver() as there:
        yield there


def busy() -> FakeVm:
    """A VM with something of everything."""
    vm = FakeVm()
    late, depth = Histogram(), Figure("queue_depth", FigureKind.GAUGE, "Requests waiting.", {"queue": "rx"})
    for ns in (300, 5_000, 2_000_000_000):
        late.count(ns)
    vm.add_device("net0", [(depth, 3)])
    vm.parts[1].arch.own = [(Figure("timer_lateness_seconds", FigureKind.HISTOGRAM, "How late."), late)]
    stats = vm.parts[1].stats
    stats.kick_to_exit, stats.halts, stats.guest_ns = late, 7, 1_500_000_000
    stats.exits_by_reason[ExitReason.HALTED] = 9
    vm.guest_faults["undefined"] = 2
    return vm


async def pushed(vm: FakeVm, there: Receiver) -> Push:
    """The first push of a VM."""
    instrument = create_instrument(there.url)
    await instrument.start(vm)
    first = await asyncio.to_thread(there.next)
    await instrument.stop(vm)
    return first


async def test_it_is_what_a_page_shows(there: Receiver) -> None:
    vm = busy()
    push = await pushed(vm, there)
    collector = VmCollector()
    collector.add(vm)
    page = Page("".join(collector.lines(openmetrics=False)))
    changing = {"avmm_vm_host_seconds", "avmm_vm_clock_ratio"}
    seen = 0
    for name, metric in push.metrics.items():
        kind = metric.WhichOneof("data")
        assert {"sum": "counter"}.get(kind, kind) == page.kinds[name], name
        for attributes, point in push.points(name).items():
            labels = dict(attributes)
            if kind == "histogram":
                assert point.count == page.value(f"{name}_count", **labels)
                assert point.sum == page.value(f"{name}_sum", **labels)
                running = 0
                bounds = [*map(str, point.explicit_bounds), "+Inf"]
                for bound, count in zip(bounds, point.bucket_counts, strict=True):
                    running += count
                    assert running == page.value(f"{name}_bucket", **labels, le=bound)
            elif name not in changing:
                expected = page.value(f"{name}_total" if kind == "sum" else name, **labels)
                assert push.value(name, **labels) == expected, (name, labels)
            seen += 1
    assert seen == len([name for name, _ in page.samples if not name.endswith(("_bucket", "_sum"))]) - 1, (
        "all but avmm_build_info"
    )


async def test_how_it_is_described(there: Receiver) -> None:
    push = await pushed(busy(), there)
    assert push.path == "/v1/metrics"
    assert push.resource["service.name"] == "avmm"
    metric = push.metrics["avmm_vcpu_seconds"]
    assert (metric.unit, metric.sum.is_monotonic, metric.sum.aggregation_temporality) == ("s", True, 2)
    assert metric.description.startswith("Time of the VM's clock")
    assert push.metrics["avmm_vm_memory_bytes"].unit == "By"
    assert push.metrics["avmm_vcpu_halts"].unit == ""
    point = push.point("avmm_vcpu_halts", vm="vm0", vcpu="1")
    assert 0 < point.start_time_unix_nano <= point.time_unix_nano


async def test_histograms_have_the_bounds_of_the_page(there: Receiver) -> None:
    push = await pushed(busy(), there)
    vm_s = push.point("avmm_vm_kick_to_exit_seconds", vm="vm0")
    assert list(vm_s.explicit_bounds) == [float(bound) for bound in FINE.bounds[:-1]]
    vcpu_s = push.point("avmm_vcpu_timer_lateness_seconds", vm="vm0", vcpu="1")
    assert list(vcpu_s.explicit_bounds) == [float(bound) for bound in COARSE.bounds[:-1]]
    assert not vm_s.HasField("min")
    assert not vm_s.HasField("max")


async def test_it_pushes_again_and_a_last_time(there: Receiver) -> None:
    vm = FakeVm()
    instrument = create_instrument(f"{there.url},interval=0.1")
    await instrument.start(vm)
    for _ in range(3):
        push = await asyncio.to_thread(there.next)
        assert push.value("avmm_vcpu_halts", vm="vm0", vcpu="0") == 0
    vm.parts[0].stats.halts = 8
    await instrument.stop(vm)
    while not there.pushes.empty():
        push = there.next()
    assert push.value("avmm_vcpu_halts", vm="vm0", vcpu="0") == 8
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("otlp")]


async def test_a_machine_s_own_setting(there: Receiver) -> None:
    async with ScriptedVm([Spin()], name="mine") as scripted:
        await scripted.start()
        instrument = create_instrument(there.url)
        await instrument.start(scripted)
        push = await asyncio.to_thread(there.next)
        await instrument.stop(scripted)
        assert push.value("avmm_vm_state", vm="mine", state="running") == 1


async def test_a_receiver_that_refuses_is_one_warning(there: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    said = structlog.testing.CapturingLogger()
    monkeypatch.setattr(pusher, "log", said)
    there.statuses = [400, 400, 400]
    vm = FakeVm()
    instrument = create_instrument(f"{there.url},interval=0.1")
    await instrument.start(vm)
    await asyncio.to_thread(there.next)  # taken at last
    await instrument.stop(vm)
    where = {"vm": "vm0", "url": f"{there.url}/v1/metrics"}
    assert [(call.method_name, call.args, call.kwargs) for call in said.calls] == [
        ("warning", ("metrics not taken",), where),
        ("info", ("metrics taken again",), where),
    ]


async def test_a_receiver_that_is_gone_does_not_keep_a_vm_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusher, "LAST_S", 0.05)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")  # the SDK by itself would try again for a minute
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    vm = FakeVm()
    instrument = create_instrument(f"http://127.0.0.1:{port}")
    await instrument.start(vm)
    async with asyncio.timeout(30):
        await instrument.stop(vm)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("otlp")]


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("http://h:4318", "http://h:4318/v1/metrics"),
        ("http://h:4318/", "http://h:4318/v1/metrics"),
        ("https://h/some/where", "https://h/some/where"),
        ("http://[::1]:4318,interval=5", "http://[::1]:4318/v1/metrics"),
    ],
)
def test_ways_to_write_a_setting(setting: str, url: str) -> None:
    assert create_instrument(setting).url == url


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        *(
            (url, "is not the URL of a receiver")
            for url in ("", "host:4318", "ftp://host", "http://", "http://h:port", "http://h:70000")
        ),
        ("http://h,interval=0", "0.1 to 86400 seconds, not 0"),
        ("http://h,interval=x", "0.1 to 86400 seconds, not x"),
    ],
)
def test_what_is_no_setting(setting: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as raised:
        create_instrument(setting)
    assert raised.value.key == "otlp"
