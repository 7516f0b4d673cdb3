"""A VM of scripted vCPUs, for tests: no guest code, no real time, no sleeping."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self, TypeVar, cast

from avmm.arch import ArchFactory
from avmm.builder import Installed, Plugins
from avmm.clock import Clock, VirtualClock
from avmm.config import MachineConfig
from avmm.device import Device, DeviceFactory, DeviceOptions
from avmm.engine import EngineFactory
from avmm.halt import Halt
from avmm.instrument import Instrument, InstrumentFactory
from avmm.testing.scripted import create_engine
from avmm.testing.scripted_vcpu import Program, ScriptedVcpu
from avmm.testing.toy import ToyArch, ToyVcpu, create_arch
from avmm.vcpu.mode import RUN_LOOP, Tracepoint
from avmm.vcpu.tracers import add_tracer
from avmm.vcpu.vcpu import Vcpu
from avmm.vm import Vm

T = TypeVar("T")
TRACE_LENGTH = 10_000
WATCHDOG_S = 30.0
"""A test that waits this long for something has failed. Nothing waits for time to pass: only a failure takes so long."""

LOOK_AGAIN_S = 0.02
"""How soon to look again when vCPUs on threads pass no tracepoint."""


class ToyPlugins:
    """The toy architecture, the scripted engine, the devices given, and whatever is installed."""

    def __init__(self, devices: Mapping[str, Callable[[DeviceOptions], Device]] = {}) -> None:
        self._devices = devices
        self._installed: Plugins = Installed()

    def arch(self, name: str) -> ArchFactory:
        """The toy architecture as `toy`, else an installed one."""
        return create_arch if name == "toy" else self._installed.arch(name)

    def engine(self, name: str) -> EngineFactory:
        """The scripted engine as `scripted`, else an installed one."""
        return create_engine if name == "scripted" else self._installed.engine(name)

    def device(self, name: str) -> DeviceFactory:
        """The device given under that name, else an installed one."""
        return self._devices.get(name) or self._installed.device(name)

    def instrument(self, name: str) -> InstrumentFactory:
        """An installed instrument."""
        return self._installed.instrument(name)


class ScriptedVm(Vm):
    """A `Vm` of the toy architecture whose vCPU n runs `programs[n]` (the last serves all further ones).

    `slot="inline"` (the default) runs everything on the event loop in virtual time: deterministic. `slot="thread"` runs each
    vCPU on a thread of its own in real time. `devices` are factories by name, placed on the bus in order from 0x1000_0000,
    0x1_0000 apart, with the shared interrupt inputs 0, 1, ... `metrics` serves them, as the setting of a machine does.

        async with ScriptedVm([Halted(), Spin()]) as vm:
            await vm.start()
            await vm.until(lambda: vm.vcpus[0].asleep)
            vm.toy.raise_irq(0)
            await vm.until(lambda: vm.guest(0).entries == 2)
    """

    def __init__(
        self,
        *programs: Program,
        vcpus: int | None = None,
        slot: Literal["inline", "thread"] = "inline",
        clock: Clock | None = None,
        max_in_guest: int = 64,
        devices: Mapping[str, Callable[[DeviceOptions], Device]] = {},
        boot: Literal["all", "first"] = "all",
        name: str = "test",
        console: Callable[[bytes], object] | None = None,
        halt_poll_ns: int = 0,
        quantum_us: int = 1000,
        on_device_fault: Literal["continue", "stop"] = "continue",
        on_reset: Literal["reset", "exit"] = "reset",
        instructions: int | None = None,
        metrics: str | None = None,
        plugins: Plugins | None = None,
        instruments: Sequence[Instrument] = (),
    ) -> None:
        virtual = slot == "inline" and (clock is None or isinstance(clock, VirtualClock))
        config = MachineConfig(
            name=name,
            arch={"name": "toy", "boot": boot},
            engine={"name": "scripted", "programs": list(programs), "max_in_guest": max_in_guest},
            vcpus=max(1, len(programs)) if vcpus is None else vcpus,
            memory="64K",
            clock="virtual" if virtual else "host",
            slot=slot,
            devices={device: {"kind": device} for device in devices},
            halt_poll_ns=halt_poll_ns,
            quantum_us=quantum_us,
            on_device_fault=on_device_fault,
            on_reset=on_reset,
            instructions=instructions,
            metrics=metrics,
        )
        super().__init__(config, console=console, plugins=plugins or ToyPlugins(devices), clock=clock, instruments=instruments)
        self.trace_log: deque[tuple[int, Tracepoint]] = deque(maxlen=TRACE_LENGTH)
        """The last places of the run loop that were passed, (vCPU, tracepoint) in order, while `tracing`."""
        self.tracing = True
        self._hooks: dict[tuple[int, Tracepoint], Callable[[], object]] = {}
        self._moved = asyncio.Event()
        self._test_loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._test_loop = asyncio.get_running_loop()
        await super().__aenter__()
        for vcpu in self.vcpus:
            self.trace(vcpu.index)
        return self

    # What the VM is made of.

    @property
    def toy(self) -> ToyArch:
        """The architecture."""
        return cast(ToyArch, self.arch)

    def part(self, index: int = 0) -> ToyVcpu:
        """The toy part of vCPU `index`."""
        return self.toy.parts[index]

    def guest(self, index: int = 0) -> ScriptedVcpu:
        """The scripted engine's vCPU `index`."""
        return cast(ScriptedVcpu, self.vcpus[index].engine)

    # Forcing an order of events.

    def trace(self, index: int) -> None:
        """Follow vCPU `index` (done for all of them on entry; a test that sets `vcpu.trace` itself undoes it)."""
        vcpu, guest = self.vcpus[index], self.guest(index)

        def trace(point: Tracepoint, value: int) -> None:
            if point in RUN_LOOP:
                self._passed(vcpu, point)

        add_tracer(vcpu, trace)
        guest.on_spin = self._wake_until

    def at(self, index: int, point: Tracepoint, callback: Callable[[], object], *, once: bool = True) -> None:
        """Call `callback` where vCPU `index` next passes `point` (every time unless `once`), in place: the vCPU waits for it."""
        self._hooks[index, point] = (lambda: (self._hooks.pop((index, point)), callback())) if once else callback

    def _passed(self, vcpu: Vcpu, point: Tracepoint) -> None:
        if self.tracing:
            self.trace_log.append((vcpu.index, point))
        hook = self._hooks.get((vcpu.index, point))
        if hook is not None:
            hook()
        self._wake_until()

    def _wake_until(self) -> None:
        loop = self._test_loop
        if loop is not None and not self._moved.is_set() and not loop.is_closed():
            loop.call_soon_threadsafe(self._moved.set)

    def points(self, index: int = 0) -> Sequence[Tracepoint]:
        """The tracepoints that vCPU `index` has passed, in order."""
        return [point for vcpu, point in self.trace_log if vcpu == index]

    async def until(self, predicate: Callable[[], object], *, passes: int = 100_000) -> None:
        """Let the VM go on until `predicate()` holds; AssertionError when it does not within `passes` passes of the loop.

        Looks after every pass of the event loop and, where vCPUs have threads, after every tracepoint.
        """
        threads = self.config.slot == "thread"
        for _ in range(passes):
            if predicate():
                return
            if threads and self._run.task is not None and not self._run.task.done():
                self._moved.clear()
                await asyncio.sleep(0)
                if not await self._moves(predicate):
                    break
            else:
                await asyncio.sleep(0)
        raise AssertionError(f"it never came to that: {self!r}")

    async def _moves(self, predicate: Callable[[], object]) -> bool:
        """Wait for a tracepoint, or for `predicate()`: not all is traced that a test may look at (the end of a task, say)."""
        for _ in range(round(WATCHDOG_S / LOOK_AGAIN_S)):
            if predicate():
                return True
            try:
                await asyncio.wait_for(self._moved.wait(), LOOK_AGAIN_S)
            except TimeoutError:
                continue
            return True
        return False

    async def start(self) -> None:
        await super().start()
        assert self._run.task is not None
        self._run.task.add_done_callback(lambda _: self._wake_until())  # nothing is traced from then on

    async def halted(self) -> Halt:
        """As `Vm.halted()`, but AssertionError when the VM does not come to its end."""
        try:
            return await asyncio.wait_for(super().halted(), WATCHDOG_S)
        except TimeoutError:
            raise AssertionError(f"the VM does not end: {self!r}") from None

    async def passes(self, count: int = 20) -> None:
        """Let the event loop make `count` passes: enough for everything that is going to happen by itself to happen."""
        for _ in range(count):
            await asyncio.sleep(0)

    def __repr__(self) -> str:
        vcpus = [f"{vcpu!r} asleep={vcpu.asleep}" for vcpu in self._vcpus]
        return f"<ScriptedVm {self.name} {self.state()} {vcpus} {[point.value for _, point in list(self.trace_log)[-8:]]}>"


def in_thread(work: Callable[[], T]) -> T:
    """Do `work` on another thread and wait for it: a requester that is certainly not the vCPU. Its result, or its exception."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again on the thread that asked
            errors.append(error)

    thread = threading.Thread(target=run, name="requester")
    thread.start()
    thread.join(WATCHDOG_S)
    assert not thread.is_alive(), "the requester is stuck"
    if errors:
        raise errors[0]
    return results[0]
