"""The instrument on a whole VM, whose guest is a script."""

from __future__ import annotations

import asyncio
import sys
import threading
from itertools import pairwise
from types import FrameType
from typing import Literal

import pytest

from avmm.config import MachineConfig
from avmm.exits import HALTED, YIELDED, ExitReason
from avmm.instrument import InstrumentFactory, KickAction
from avmm.testing import (
    DEVICES_BASE,
    Call,
    MmioRead,
    MmioWrite,
    ReadSystemRegister,
    Script,
    ScriptedVcpu,
    ScriptedVm,
    Spin,
    Step,
    ToyCall,
    ToyPlugins,
    ToyRequest,
)
from avmm.vm import Vm
from avmm_prometheus import endpoint, probe
from avmm_prometheus.instrument import PrometheusInstrument, create_instrument
from tests.sleepers import sleeps
from tests.unit.prometheus.fakes import FakeDevice
from tests.unit.prometheus.scrape import Page, get, scrape


async def page_of(vm: Vm) -> Page:
    """One scrape of `vm`, whose endpoint lives no longer than that."""
    instrument = create_instrument("127.0.0.1:0")
    await instrument.start(vm)
    try:
        return await scrape(instrument.address)
    finally:
        await instrument.stop(vm)


async def test_a_run_and_its_page() -> None:
    guest: list[Step] = [MmioWrite(DEVICES_BASE, 1), MmioRead(DEVICES_BASE), MmioRead(DEVICES_BASE), HALTED, Spin()]
    async with ScriptedVm(guest, devices={"fake": lambda options: FakeDevice([])}) as vm:
        await vm.start()
        vcpu = vm.vcpus[0]
        await vm.until(lambda: sleeps(vcpu))
        vcpu.make_request_and_kick(ToyRequest.IRQ_PENDING)
        await vm.until(lambda: vcpu.stats.spurious_wakeups)
        vm.toy.raise_irq(0)
        await vm.until(lambda: vcpu.stats.exits >= 2)
        async with vm.paused():
            page, stats = await page_of(vm), vcpu.stats
            for reason in ExitReason:
                shown = page.value("avmm_vcpu_exits_total", vm="test", vcpu="0", reason=reason.name.lower())
                assert shown == stats.exits_by_reason[reason], reason
            for action in KickAction:
                assert page.value("avmm_vcpu_kicks_total", vm="test", vcpu="0", action=action.name.lower()) == stats.kicks[action]
            for number, name in vm.request_names.items():
                labels = {"vm": "test", "vcpu": "0", "request": name.lower()}
                assert page.value("avmm_vcpu_requests_made_total", **labels) == stats.requests_made[number]
                assert page.value("avmm_vcpu_requests_handled_total", **labels) == stats.requests_handled[number]
            assert page.value("avmm_vcpu_requests_made_total", vm="test", vcpu="0", request="irq_pending") >= 1
            assert page.value("avmm_vcpu_halts_total", vm="test", vcpu="0") == stats.halts >= 1
            assert page.value("avmm_vcpu_wakeups_total", vm="test", vcpu="0") == stats.wakeups
            assert page.value("avmm_vcpu_halt_wait_seconds_count", vm="test", vcpu="0") == sum(stats.halt_wait.buckets)
            assert page.value("avmm_bus_reads_total", vm="test", device="fake") == 2
            assert page.value("avmm_bus_writes_total", vm="test", device="fake") == 1
            assert page.value("avmm_vcpu_guest_instructions_total", vm="test", vcpu="0") == vcpu.engine.instructions > 0
            assert page.value("avmm_vm_state", vm="test", state="paused") == 1


def busy_guest(cpu: ScriptedVcpu) -> Script:
    """Traps, requests, kicks, halts and yields, 250 times over."""
    for _ in range(250):
        yield Call(ToyCall.SEND_IRQ, (0,))
        yield HALTED
        yield ReadSystemRegister("irq_ack")
        yield YIELDED
        yield MmioRead(DEVICES_BASE)
    yield Spin()


@pytest.mark.parametrize("slot", ["inline", "thread"])
async def test_an_exit_runs_nothing_of_ours(slot: Literal["inline", "thread"], monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost: while the guest runs and nobody scrapes, not one function of the exporter is called."""
    monkeypatch.setattr(probe, "PERIOD_S", 3600)  # its looks come with time, and not with what the guest does
    called: list[str] = []

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and "avmm_prometheus" in frame.f_code.co_filename:
            called.append(frame.f_code.co_qualname)

    async with ScriptedVm(busy_guest, slot=slot) as vm:
        instrument = create_instrument("127.0.0.1:0")
        await instrument.start(vm)
        try:
            threading.setprofile(profile)
            sys.setprofile(profile)
            try:
                await vm.start()
                await vm.until(lambda: vm.vcpus[0].stats.exits_by_reason[ExitReason.MMIO_READ] == 250)
            finally:
                sys.setprofile(None)
                threading.setprofile(None)
            assert vm.vcpus[0].stats.exits >= 750
            assert called == []
        finally:
            await instrument.stop(vm)


class Plugins(ToyPlugins):
    """The toy machine with our instrument, which a test can look at."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[PrometheusInstrument] = []

    def instrument(self, name: str) -> InstrumentFactory:
        assert name == "prometheus"

        def make(setting: str) -> PrometheusInstrument:
            self.made.append(create_instrument(setting))
            return self.made[-1]

        return make


def machine(name: str, metrics: str = "127.0.0.1:0") -> MachineConfig:
    engine = {"name": "scripted", "programs": [[Spin()]]}
    return MachineConfig(name=name, arch="toy", engine=engine, memory="64K", clock="virtual", slot="inline", metrics=metrics)


async def test_a_machine_s_own_setting() -> None:
    plugins = Plugins()
    async with Vm(machine("one"), plugins=plugins) as vm:
        address = plugins.made[0].address
        assert (await scrape(address)).value("avmm_vm_state", vm="one", state="init") == 1
        await vm.start()
        assert (await scrape(address)).value("avmm_vm_state", vm="one", state="running") == 1
        await vm.stop()
        assert (await scrape(address)).value("avmm_vm_state", vm="one", state="halted") == 1
    assert not endpoint._endpoints
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(get, address)


async def test_two_machines_at_one_address() -> None:
    plugins = Plugins()
    async with Vm(machine("one"), plugins=plugins), Vm(machine("two"), plugins=plugins):
        page = await scrape(plugins.made[0].address)
        assert page.value("avmm_vm_vcpus", vm="one") == page.value("avmm_vm_vcpus", vm="two") == 1


async def test_a_scrape_in_the_midst_of_it() -> None:
    """Scrapes on other threads while the guest makes exits: every counter only grows."""
    async with ScriptedVm([YIELDED] * 5000, slot="thread") as vm:
        instrument = create_instrument("127.0.0.1:0")
        await instrument.start(vm)
        try:
            await vm.start()
            pages = [await scrape(instrument.address) for _ in range(5)]
        finally:
            await instrument.stop(vm)
    for before, after in pairwise(pages):
        for key, value in before.samples.items():
            if key[0].endswith(("_total", "_count", "_bucket")):
                assert after.samples[key] >= value, key
