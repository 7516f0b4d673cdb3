"""A real Prometheus scrapes a running guest: every query of every dashboard and rule has data, and alerts fire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

import avmm
from avmm.device import Device, Width
from avmm.testing import ScriptedVm, Spin, ToyPlugins
from avmm.vcpu.acks import Acknowledgements
from avmm_prometheus.instrument import create_instrument
from tests.prometheus.server import DEADLINE_S, PROMETHEUS, Prometheus, prometheus
from tests.prometheus.shipped import DASHBOARDS, RULES, expressions, names

GUEST = Path(__file__).parents[2] / "examples/guests/images/smp.img"


class Broken(Device):
    """Raises when it is read."""

    size = 0x1000

    def read(self, offset: int, width: Width) -> int:
        raise RuntimeError("out of order")

    def write(self, offset: int, width: Width, value: int) -> None:
        pass


async def _keep_asking(vm: avmm.Vm) -> None:
    """Requests with WAIT, some of which find a vCPU in the guest."""
    while True:
        await vm.flush_remote_tlbs()
        await asyncio.sleep(0.001)


@asynccontextmanager
async def two_vms() -> AsyncIterator[tuple[avmm.Vm, ScriptedVm, set[str]]]:
    """A guest that ticks, sends interrupts and has a device that breaks; one whose vCPU ignores kicks; and their addresses."""
    devices = {"broken": {"kind": "broken"}, "console1": {"kind": "virtio-console", "testdev": True}}
    config = avmm.MachineConfig(name="guest", kernel=GUEST, append="seconds=600", vcpus=2, memory="64M", devices=devices)
    async with AsyncExitStack() as stack:
        guest = await stack.enter_async_context(avmm.Vm(config, plugins=ToyPlugins({"broken": lambda options: Broken()})))
        deaf = await stack.enter_async_context(ScriptedVm([Spin()], slot="thread", name="deaf"))
        addresses = set()
        for vm in (guest, deaf):
            instrument = create_instrument("127.0.0.1:0")
            await instrument.start(vm)
            stack.push_async_callback(instrument.stop, vm)
            await vm.start()
            addresses.add(instrument.address)
        asking = asyncio.create_task(_keep_asking(guest))
        stack.callback(asking.cancel)
        yield guest, deaf, addresses  # one, in fact: both named the same


async def _all_have_data(server: Prometheus, queries: set[str]) -> None:
    missing = queries
    try:
        async with asyncio.timeout(DEADLINE_S):
            while missing := {query for query in missing if not await server.values(query)}:
                await asyncio.sleep(0.2)
    except TimeoutError:
        pytest.fail("no data: " + "\n".join(sorted(missing)))


@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (Debian: apt-get install prometheus)")
async def test_a_running_guest_in_a_real_prometheus(tmp_path: Path) -> None:
    async with two_vms() as (guest, deaf, addresses), prometheus(tmp_path, addresses, RULES) as server:
        queries = {expression for path in DASHBOARDS for _, expression in expressions(path)} | set(names("record"))
        (address,) = addresses
        shown = {'"$instance"': f'"{address}"', "$__rate_interval": "30s", '"$vm"': '"guest"', '"$vcpu"': '"1"'}
        for variable, value in shown.items():
            queries = {query.replace(variable, value) for query in queries}
        assert not [query for query in queries if "$" in query]
        await _all_have_data(server, queries)

        examples = await server.get("query_exemplars", query="avmm_vm_exit_handling_seconds_bucket", start="0", end="4e9")
        assert {example["labels"]["vcpu"] for series in examples for example in series["exemplars"]} <= {"0", "1"}
        assert examples

        rules = [rule for group in (await server.get("rules"))["groups"] for rule in group["rules"]]
        assert {rule["name"] for rule in rules} == {*names("alert"), *names("record")}
        assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}

        assert not {("AvmmDeviceQuarantined", "guest"), ("AvmmWaitStalled", "deaf")} & await server.firing()
        broken = next(region for region in guest.bus if region.name == "broken")
        guest.bus.read(broken.address, 4)
        await _fires(server, "AvmmDeviceQuarantined", "guest")
        async with unheard_kicks(deaf) as waiting:
            assert not waiting.complete
            await _fires(server, "AvmmWaitStalled", "deaf")
        await waiting
        async with asyncio.timeout(DEADLINE_S):
            while ("AvmmWaitStalled", "deaf") in await server.firing():
                await asyncio.sleep(0.1)


async def _fires(server: Prometheus, alert: str, vm: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while (alert, vm) not in await server.firing():
            await asyncio.sleep(0.1)


@asynccontextmanager
async def unheard_kicks(vm: ScriptedVm) -> AsyncIterator[Acknowledgements]:
    """A request with WAIT of a vCPU in the guest whose engine ignores kicks meanwhile."""
    await vm.until(lambda: vm.guest().spinning)
    guest = vm.guest()
    kick = guest.kick
    guest.kick = lambda: None  # type: ignore[method-assign]
    try:
        yield vm.vcpus[0].make_request_and_kick(avmm.Request.TLB_FLUSH)
    finally:
        guest.kick = kick  # type: ignore[method-assign]
        kick()
