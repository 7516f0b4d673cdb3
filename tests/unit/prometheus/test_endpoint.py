"""The endpoint: where it listens, whom it serves, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing
from http.client import HTTPConnection
from wsgiref.simple_server import WSGIServer

import pytest
import pytest_asyncio

from avmm.errors import ConfigError
from avmm_prometheus import endpoint
from avmm_prometheus.instrument import PrometheusInstrument, create_instrument
from tests.unit.prometheus.fakes import FakeVm
from tests.unit.prometheus.scrape import get, scrape

Serve = Callable[..., Awaitable[PrometheusInstrument]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(vm, setting)`: an instrument that serves it until the end of the test. Nothing may be left then."""
    before = _threads()
    async with AsyncExitStack() as stack:

        async def start(vm: FakeVm, setting: str = "127.0.0.1:0") -> PrometheusInstrument:
            instrument = create_instrument(setting)
            await instrument.start(vm)
            stack.push_async_callback(instrument.stop, vm)
            return instrument

        yield start
    assert not endpoint._endpoints
    assert _threads() <= before


def _threads() -> set[threading.Thread]:
    """All threads but those of asyncio.to_thread(), by which the tests' own clients wait."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}


async def test_it_serves_what_it_watches(serve: Serve) -> None:
    vm = FakeVm()
    vm.parts[0].stats.halts = 3
    instrument = await serve(vm)
    assert (await scrape(instrument.address)).value("avmm_vcpu_halts_total", vm="vm0", vcpu="0") == 3


async def test_port_0_tells_what_it_came_to(serve: Serve) -> None:
    instrument = await serve(FakeVm())
    host, _, port = instrument.address.rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0


@pytest.mark.parametrize(("setting", "client"), [(":0", "127.0.0.1"), ("localhost:0", "localhost"), ("[::1]:0", "[::1]")])
async def test_ways_to_write_an_address(serve: Serve, setting: str, client: str) -> None:
    if "::1" in setting and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    instrument = await serve(FakeVm(), setting)
    port = instrument.address.rpartition(":")[2]
    await scrape(f"{client}:{port}")


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("setting", ["", "9100", "host", "host:port", "host:70000", "::1:9100"])
def test_what_is_no_address(setting: str) -> None:
    with pytest.raises(ConfigError, match="is not HOST:PORT") as raised:
        create_instrument(setting)
    assert raised.value.key == "metrics"


async def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as raised:
            await create_instrument(f"127.0.0.1:{port}").start(FakeVm())
    assert str(raised.value) == f"metrics: cannot serve at 127.0.0.1:{port}: Address already in use"


async def test_a_host_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"^metrics: cannot serve at 192\.0\.2\.1:0: Cannot assign requested address$"):
        await create_instrument("192.0.2.1:0").start(FakeVm())


async def test_two_vms_share_one_endpoint(serve: Serve) -> None:
    one, two = FakeVm("one"), FakeVm("two")
    first = await serve(one)
    second = await serve(two)
    assert first.address == second.address
    page = await scrape(first.address)
    assert page.value("avmm_vm_vcpus", vm="one") == page.value("avmm_vm_vcpus", vm="two") == 2


async def test_two_vms_that_start_at_once_share_one_endpoint(serve: Serve) -> None:
    first, second = await asyncio.gather(serve(FakeVm("one")), serve(FakeVm("two")))
    assert first.address == second.address


async def test_two_vms_of_one_name_cannot_share(serve: Serve) -> None:
    await serve(FakeVm("one"))
    with pytest.raises(ConfigError, match="another VM of the name one"):
        await create_instrument("127.0.0.1:0").start(FakeVm("one"))


async def test_one_vm_s_end_leaves_the_other_served() -> None:
    one, two = FakeVm("one"), FakeVm("two")
    first, second = create_instrument("127.0.0.1:0"), create_instrument("127.0.0.1:0")
    await first.start(one)
    await second.start(two)
    await first.stop(one)
    page = await scrape(second.address)
    assert ("avmm_vm_vcpus", (("vm", "one"),)) not in page.samples
    assert page.value("avmm_vm_vcpus", vm="two") == 2
    await second.stop(two)


async def test_nothing_listens_after_the_last_stop() -> None:
    vm = FakeVm()
    instrument = create_instrument("127.0.0.1:0")
    await instrument.start(vm)
    await instrument.stop(vm)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(get, instrument.address)


async def test_an_address_can_be_used_again_at_once() -> None:
    vm = FakeVm()
    instrument = create_instrument("127.0.0.1:0")
    await instrument.start(vm)
    await scrape(instrument.address)
    await instrument.stop(vm)
    again = create_instrument(instrument.address)
    await again.start(vm)
    await scrape(again.address)
    await again.stop(vm)


async def test_a_silent_client_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint._Handler, "timeout", None)  # nothing else would end the wait for it
    vm = FakeVm()
    instrument = create_instrument("127.0.0.1:0")
    await instrument.start(vm)
    host, _, port = instrument.address.rpartition(":")
    with closing(socket.create_connection((host, int(port)))) as silent:
        await scrape(instrument.address)  # by now the silent one has been accepted
        await asyncio.wait_for(instrument.stop(vm), 60)
        assert silent.recv(1) == b""


async def test_more_clients_than_are_served_are_told_503(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "CONNECTIONS", 4)
    instrument = await serve(FakeVm())
    host, _, port = instrument.address.rpartition(":")
    clients = [socket.create_connection((host, int(port))) for _ in range(5)]
    clients[-1].settimeout(60)
    assert clients[-1].recv(1000).startswith(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\n")
    assert clients[-1].recv(1) == b""
    for client in clients:
        client.close()


async def test_two_hundred_scrapes_at_once_are_all_answered(serve: Serve) -> None:
    vm = FakeVm(vcpus=50)
    vm.parts[49].stats.halts = 3
    instrument = await serve(vm)
    together = threading.Barrier(200)

    def one() -> tuple[int, str, str]:
        together.wait(60)
        return get(instrument.address)

    with ThreadPoolExecutor(200) as clients:
        answers = await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(clients, one) for _ in range(200)))
    assert {status for status, _, _ in answers} == {200}
    assert all('avmm_vcpu_halts_total{vm="vm0",vcpu="49"} 3\n' in body for _, _, body in answers)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=abc\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nAccept: ;;q=,\r\nAccept-Encoding: gzip;q=x\r\n\r\n", b"200"),
        (b"GET /metrics?x=%zz HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"200"),
        (b"GARBAGE\r\n\r\n", b"Error code: 400"),
        (b"\x16\x03\x01\x00\xff\x01\r\n\r\n", b"Error code: 400"),
        (b"GET /metrics HTTP/9.9\r\n\r\n", b"Error code: 505"),
        (b"GET ".ljust(65537, b"/"), b"414"),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n", b"431"),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", b"404"),
    ],
)
async def test_malformed_requests_have_their_answers(
    serve: Serve, request_: bytes, status: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    instrument = await serve(FakeVm())
    host, _, port = instrument.address.rpartition(":")

    def ask() -> bytes:
        with closing(socket.create_connection((host, int(port)), timeout=60)) as client:
            client.sendall(request_)
            return b"".join(iter(lambda: client.recv(1 << 16), b""))

    assert status in (await asyncio.to_thread(ask))[:400]
    await scrape(instrument.address)  # the next one is served
    assert "Traceback" not in capfd.readouterr().err


async def test_a_page_that_fails_is_500_and_no_traceback(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    vm = FakeVm()
    instrument = await serve(vm)
    vm.state = lambda: 1 / 0  # type: ignore[assignment, return-value, method-assign]
    assert await asyncio.to_thread(get, instrument.address) == (
        500,
        "text/plain; charset=utf-8",
        "the page could not be made; the log says why\n",
    )
    assert "Traceback" not in capfd.readouterr().err


async def test_gzip_for_whoever_likes_it(serve: Serve) -> None:
    instrument = await serve(FakeVm())
    connection = HTTPConnection(instrument.address, timeout=60)
    await asyncio.to_thread(connection.request, "GET", "/metrics", headers={"Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    assert answer.getheader("Content-Encoding") == "gzip"
    assert b"avmm_build_info" in gzip.decompress(answer.read())
    connection.close()


async def test_other_methods_are_refused(serve: Serve) -> None:
    instrument = await serve(FakeVm())
    for method, status in (("POST", 405), ("HEAD", 200)):
        connection = HTTPConnection(instrument.address, timeout=60)
        await asyncio.to_thread(connection.request, method, "/metrics")
        answer = connection.getresponse()
        assert answer.status == status
        assert len(answer.read()) < 100
        connection.close()


async def test_no_descriptor_left_is_tried_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(errno.EMFILE, "Too many open files")] * 3
    accept = WSGIServer.get_request

    def fail_first(server: WSGIServer) -> object:
        if failures:
            raise failures.pop()
        return accept(server)

    monkeypatch.setattr(WSGIServer, "get_request", fail_first)
    monkeypatch.setattr(endpoint, "RETRY_S", 0)
    instrument = await serve(FakeVm())
    await scrape(instrument.address)
    assert not failures


async def test_a_cancelled_start_leaves_nothing() -> None:
    starting = asyncio.create_task(create_instrument("127.0.0.1:0").start(FakeVm()))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not endpoint._endpoints


async def test_only_the_metrics_are_there(serve: Serve) -> None:
    instrument = await serve(FakeVm())
    assert await asyncio.to_thread(get, instrument.address, "/") == (
        404,
        "text/plain; charset=utf-8",
        "metrics are at /metrics\n",
    )


async def test_the_plain_format_is_the_default(serve: Serve) -> None:
    instrument = await serve(FakeVm())
    _, kind, body = await asyncio.to_thread(get, instrument.address)
    assert kind.startswith("text/plain; version=0.0.4")
    assert "# EOF" not in body


async def test_open_metrics_for_whoever_asks(serve: Serve) -> None:
    instrument = await serve(FakeVm())
    _, kind, body = await asyncio.to_thread(
        lambda: get(instrument.address, Accept="application/openmetrics-text; version=1.0.0,text/plain;q=0.5")
    )
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith("# EOF\n")
    assert "# TYPE avmm_vcpu_halts counter" in body
    assert 'avmm_vcpu_halts_total{vm="vm0",vcpu="0"} 0' in body


async def test_nothing_is_read_but_by_a_scrape(serve: Serve) -> None:
    vm = FakeVm()
    instrument = await serve(vm)
    assert vm.read == 0
    await scrape(instrument.address)
    assert vm.read > 0
