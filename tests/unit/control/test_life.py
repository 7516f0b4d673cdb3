"""A VM's life by the API: what is asked for happens, and what the state does not allow is a conflict."""

from __future__ import annotations

import pytest

from avmm import HaltReason
from avmm.plugin import Console, DeviceLock, DeviceOptions
from avmm.testing import Spin
from avmm_gpio import create_device
from avmm_gpio.device import POWER_BUTTON


def refused(response, status):
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert "\n" not in problem["detail"]
    return problem["detail"]


async def test_the_list_and_a_vm_of_it(serve):
    async with serve([Spin()], [Spin()]) as (vm, http):
        [listed] = (await http.get("/v1/vms")).json()
        assert (listed["name"], listed["state"], listed["vcpus"]) == ("test", "running", 2)
        whole = (await http.get("/v1/vms/test")).json()
        assert {key: whole[key] for key in listed} == listed
        assert [vcpu["index"] for vcpu in whole["snapshot"]["vcpus"]] == [0, 1]
        assert (await http.get("/v1/vms/test/snapshot")).json()["state"] == vm.state()
        assert "there is no VM other" in refused(await http.get("/v1/vms/other"), 404)
        assert (await http.get("/healthz")).json() == {"status": "ok", "vms": 1}


async def test_pause_step_resume(serve, slot):
    async with serve(slot=slot) as (vm, http):
        assert "pause it first" in refused(await http.post("/v1/vms/test/step", json={"instructions": 1}), 409)
        assert "the VM is running, not paused" in refused(await http.post("/v1/vms/test/resume"), 409)
        assert (await http.post("/v1/vms/test/pause")).json()["state"] == vm.state() == "paused"
        assert "the VM is paused, not running" in refused(await http.post("/v1/vms/test/pause"), 409)
        stepped = (await http.post("/v1/vms/test/step", json={"instructions": 5})).json()
        assert stepped == [{"vcpu": 0, "instructions": 5, "ended": "budget"}]
        assert (await http.post("/v1/vms/test/resume")).json()["state"] == vm.state() == "running"


@pytest.mark.parametrize("body", [{}, {"instructions": 0}, {"instructions": 10**9}, {"instructions": 1, "more": 1}, [], "x"])
async def test_a_step_that_makes_no_sense_says_what_is_wrong(serve, body):
    async with serve() as (_, http):
        assert "body" in refused(await http.post("/v1/vms/test/step", json=body), 422)


async def test_reset(serve):
    async with serve() as (vm, http):
        assert (await http.post("/v1/vms/test/reset")).status_code == 202
        await vm.until(lambda: vm.toy.boots == 2 and vm.state() == "running")


async def test_the_power_button(serve):
    async with serve() as (vm, http):
        assert "no power button" in refused(await http.post("/v1/vms/test/power-button"), 404)
        lock = DeviceLock()
        vm.bus.add(0x1000, create_device(DeviceOptions("gpio0", vm.clock, lock, Console(lock))), "gpio0")
        response = await http.post("/v1/vms/test/power-button")
        assert (response.status_code, response.json()["state"]) == (202, "running")
        assert vm.bus.read(0x1000 + (1 << POWER_BUTTON << 2), 4) == 1 << POWER_BUTTON


@pytest.mark.parametrize(("how", "reason"), [("power-off", HaltReason.SHUTDOWN), ("stop", HaltReason.STOPPED)])
async def test_the_end(serve, how, reason):
    async with serve() as (vm, http):
        response = await http.post(f"/v1/vms/test/{how}")
        assert response.is_success
        assert (await vm.halted()).reason is reason
        assert (await http.get("/v1/vms/test")).json()["state"] == "halted"
        assert "halted" in refused(await http.post("/v1/vms/test/reset"), 409)
