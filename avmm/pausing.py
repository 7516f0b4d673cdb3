"""Pausing a VM: its vCPUs, as kvm_arm_halt_guest() does, and the whole machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from avmm.device_tasks import DeviceTasks
from avmm.instrument import ObservedVm
from avmm.lifecycle import State
from avmm.vcpu.acks import Acknowledgements
from avmm.vcpu.kicker import make_vcpus_request
from avmm.vcpu.requests import Request


class PausableVm(ObservedVm, Protocol):
    """What `Pausing` needs of a VM."""

    device_tasks: DeviceTasks


class Pausing:
    """Pauses one VM. Owned by the event loop."""

    def __init__(self, vm: PausableVm) -> None:
        self._vm = vm
        self._pauses = 0

    def halt_guest(self) -> Acknowledgements:
        """See `Vm.halt_guest`."""
        self._pauses += 1
        for vcpu in self._vm.vcpus:
            vcpu.paused = True
        return make_vcpus_request(self._vm.vcpus, Request.SLEEP)

    def resume_guest(self) -> None:
        """See `Vm.resume_guest`."""
        assert self._pauses, "resume_guest() without halt_guest()"
        self._pauses -= 1
        if not self._pauses:
            for vcpu in self._vm.vcpus:
                vcpu.paused = False
                vcpu.wake_up()

    async def pause(self) -> None:
        """See `Vm.pause`."""
        self._vm.lifecycle.require(State.RUNNING)
        self._vm.lifecycle.move(State.PAUSED)
        await self.halt_guest()
        await self._vm.device_tasks.quiesce()

    async def resume(self) -> None:
        """See `Vm.resume`."""
        self._vm.lifecycle.require(State.PAUSED)
        self._vm.lifecycle.move(State.RUNNING)
        await self._vm.device_tasks.resume()
        self.resume_guest()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """See `Vm.paused`."""
        await self.pause()
        try:
            yield
        finally:
            if self._vm.lifecycle.state is State.PAUSED:
                await self.resume()

    def breakpoint_hit(self) -> None:
        """A vCPU stopped for the host's debugger: the machine is paused where it is, its devices as they are."""
        if self._vm.lifecycle.state is State.RUNNING:
            self._vm.lifecycle.move(State.PAUSED)
            self.halt_guest()
