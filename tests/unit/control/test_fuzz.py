"""Every operation of the OpenAPI document with made-up requests: what it answers is what the document says, and never 500."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from avmm.testing import ScriptedVm, Spin
from avmm_control.address import TcpAddress
from avmm_control.app import create_app
from avmm_control.hub import Hub
from avmm_control.limits import Limits
from avmm_control.server import ControlServer, join, leave

TOKEN = "a-token-for-this-test"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
EXAMPLES = 10


class Background:
    """A VM behind a control server, on a thread of its own."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self.address = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="served")
        self._thread.start()
        assert self._ready.wait(60)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with ScriptedVm([Spin()], [Spin()], name="vm0", slot="thread") as vm:
            await vm.start()
            limits = Limits(requests_per_s=1e6, burst=10**6)
            server = await join(vm, ControlServer(TcpAddress("127.0.0.1", 0), token=TOKEN, limits=limits))
            self.address = f"http://{server.address}"
            self._ready.set()
            try:
                await self._over.wait()
                assert vm.state() != "halted"
            finally:
                await leave(vm, server)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the VM is served, for all operations one after the other: what one leaves behind, the next finds."""
    background = Background()
    yield background.address
    background.close()


DOCUMENT = schemathesis.openapi.from_dict(create_app(Hub()).openapi())
# Without what never ends, and what ends the VM.
FUZZED = DOCUMENT.exclude(path_regex="/(events|stop|power-off)$").exclude(path_regex="/console$", method="GET")
OPERATIONS = {operation.ok().label: operation.ok() for operation in FUZZED.get_all_operations()}


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_operation(label: str, address: str) -> None:
    operation = OPERATIONS[label]
    client = httpx.Client(base_url=address, headers=HEADERS)
    right, wrong = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

    @seed(20)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=right | wrong, state=st.sampled_from(["pause", "resume"]))
    def fuzz(case: schemathesis.Case, state: str) -> None:
        client.post(f"/v1/vms/vm0/{state}")
        if "vm" in case.path_parameters:
            case.path_parameters["vm"] = "vm0"
        case.call_and_validate(base_url=address, headers=HEADERS)

    with client:
        fuzz()


def test_all_but_those_that_cannot_be_are_tried() -> None:
    left_out = {operation.ok().label for operation in DOCUMENT.get_all_operations()} - OPERATIONS.keys()
    assert left_out == {
        "GET /v1/vms/{vm}/events",
        "GET /v1/vms/{vm}/console",
        "POST /v1/vms/{vm}/stop",
        "POST /v1/vms/{vm}/power-off",
    }
