"""A VM's life as spans, at a receiver of our own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
import structlog
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from avmm import VmFailed
from avmm.errors import ConfigError
from avmm.testing import Call, ScriptedVm, Spin, ToyCall
from avmm_prometheus.otlp import receiver as receiving
from avmm_prometheus.otlp import spans as sending
from avmm_prometheus.otlp.spans import create_instrument
from tests.unit.prometheus.receiver import Receiver, receiver


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(sending, "LAST_S", 60)  # however busy the host is, the last spans are taken
    with receiver() as there:
        yield there


def attributes(span: Span) -> dict[str, str | int]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


async def test_one_for_the_whole_and_one_for_each_stay(there: Receiver) -> None:
    async with ScriptedVm([Spin()], name="mine", instruments=[create_instrument(there.url)]) as vm:
        await vm.start()
        async with vm.paused():
            pass
        await vm.stop("enough")
    *stays, whole = there.spans
    assert [span.name for span in stays] == ["init", "running", "paused", "running"]
    assert {span.parent_span_id for span in stays} == {whole.span_id}
    assert {span.trace_id for span in there.spans} == {whole.trace_id}
    assert whole.name == "vm"
    assert not whole.parent_span_id
    for before, after in pairwise(stays):
        assert before.end_time_unix_nano <= after.start_time_unix_nano
    told = attributes(whole)
    assert (told["avmm.vm.name"], told["avmm.vm.vcpus"]) == ("mine", 1)
    assert (told["avmm.vm.halt.reason"], told["avmm.vm.halt.detail"]) == ("stopped", "enough")
    assert whole.status.code == Status.STATUS_CODE_UNSET


async def test_a_reset_is_a_stay_of_its_own(there: Receiver) -> None:
    instrument = create_instrument(there.url)
    async with ScriptedVm([Call(ToyCall.RESET), Spin()], instruments=[instrument]) as vm:
        await vm.start()
        await vm.until(lambda: vm.toy.boots == 2)
    names = [span.name for span in there.spans]
    assert names[:4] == ["init", "running", "reset", "running"]


async def test_a_failure_is_an_error(there: Receiver) -> None:
    async with ScriptedVm([Spin()], instruments=[create_instrument(there.url)]) as vm:
        await vm.start()
        vm.vcpus[0].make_request_and_kick(50)
        with pytest.raises(VmFailed):
            await vm.halted()
    whole = there.spans[-1]
    assert whole.status.code == Status.STATUS_CODE_ERROR
    assert whole.status.message.startswith("failed (vcpu 0: ")


async def test_a_vm_that_never_ran(there: Receiver) -> None:
    async with ScriptedVm([Spin()], instruments=[create_instrument(there.url)]):
        pass
    assert [span.name for span in there.spans] == ["init", "vm"]
    assert "avmm.vm.halt.reason" not in attributes(there.spans[-1])


async def test_it_is_part_of_the_trace_it_was_started_in(there: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{'ab' * 16}-{'cd' * 8}-01")
    async with ScriptedVm([Spin()], instruments=[create_instrument(there.url)]):
        pass
    assert {span.trace_id for span in there.spans} == {bytes.fromhex("ab" * 16)}
    assert there.spans[-1].parent_span_id == bytes.fromhex("cd" * 8)


async def test_a_receiver_that_is_gone_does_not_keep_a_vm_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    said = structlog.testing.CapturingLogger()
    monkeypatch.setattr(sending, "log", said)
    monkeypatch.setattr(sending, "LAST_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    async with ScriptedVm([Spin()], instruments=[create_instrument(url)]) as vm:
        await vm.start()
    assert ("warning", ("spans not taken",)) in [(call.method_name, call.args) for call in said.calls]
    assert not [thread for thread in threading.enumerate() if "Otel" in thread.name]


@pytest.mark.parametrize("setting", ["", "127.0.0.1:4318", "ftp://there", "http://", "http://there:0", "http://[::1"])
def test_a_setting_that_is_no_url(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"is not the URL of a receiver, like http://127.0.0.1:4318") as raised:
        create_instrument(setting)
    assert raised.value.key == "spans"


def test_the_path_is_the_receiver_s_unless_it_is_given() -> None:
    assert receiving.receiver_url("http://there:4318", "/v1/traces", key="spans") == "http://there:4318/v1/traces"
    assert receiving.receiver_url("https://there/its/own", "/v1/traces", key="spans") == "https://there/its/own"
