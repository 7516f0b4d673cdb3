"""The commands that list, inspect and steer running VMs. A VM is named by its name, its process, its socket or HOST:PORT."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avmm.plugin import Command, ConfigError
from avmm_control.token import read_token

if TYPE_CHECKING:
    from avmm_control.client import VmClient, VmSummary
    from avmm_control.find import Found

Work = Callable[[argparse.Namespace], Coroutine[Any, Any, None]]
Arguments = Callable[[argparse.ArgumentParser], None]


class ControlCommand:
    """One of them."""

    def __init__(self, summary: str, text: str, work: Work, arguments: Arguments) -> None:
        """`text` is its long help; `work` carries it out."""
        self.HELP = summary
        self.__doc__: str | None = text
        self._work, self._arguments = work, arguments

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """What it understands."""
        self._arguments(parser)
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")

    def command(self, arguments: argparse.Namespace) -> int:
        """Carry it out."""
        try:
            import httpx  # noqa: F401
        except ImportError as error:
            raise ConfigError(f"needs {error.name}: pip install 'avmm[control]'") from None
        asyncio.run(self._work(arguments))
        return 0


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def _one_vm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vm", metavar="VM", help="its name, process, socket, or HOST:PORT (#NAME behind it if need be)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="the token of HOST:PORT (or AVMM_CONTROL_TOKEN)")


async def _with_vm(arguments: argparse.Namespace, work: Callable[[VmClient, Found], Awaitable[None]]) -> None:
    from avmm_control.client import ControlClient
    from avmm_control.find import find

    token = read_token(arguments.token_file)
    found = await find(arguments.vm, token)
    async with ControlClient(found.address, token=token) as control:
        await work(control.vm(found.vm.name), found)


def _show(arguments: argparse.Namespace, value: object, text: str) -> None:
    print(json.dumps(value, indent=2) if arguments.json else text, flush=True)


# One each.


async def _ps(arguments: argparse.Namespace) -> None:
    from avmm_control.find import find_all
    from avmm_control.text import table

    found = await find_all()
    listed = [{**one.vm.model_dump(), "address": one.address} for one in found]
    rows = [
        (one.vm.name, one.vm.pid, one.vm.state, one.vm.vcpus, f"{one.vm.memory_bytes >> 20}M", one.vm.kernel or "", one.address)
        for one in found
    ]
    _show(arguments, listed, table(("NAME", "PID", "STATE", "VCPUS", "MEMORY", "KERNEL", "SOCKET"), rows))


async def _inspect(arguments: argparse.Namespace) -> None:
    from avmm_control.text import details

    async def work(vm: VmClient, found: Found) -> None:
        whole = await vm.inspect()
        _show(arguments, whole.model_dump(mode="json"), details(whole, found.address))

    await _with_vm(arguments, work)


def _live(what: Callable[[VmClient], Awaitable[VmSummary]]) -> Work:
    async def carry_out(arguments: argparse.Namespace) -> None:
        async def work(vm: VmClient, found: Found) -> None:
            now = await what(vm)
            _show(arguments, now.model_dump(), f"{now.name}: {now.state}")

        await _with_vm(arguments, work)

    return carry_out


def _step_arguments(parser: argparse.ArgumentParser) -> None:
    _one_vm(parser)
    parser.add_argument("instructions", type=int, nargs="?", default=1, metavar="N", help="how many instructions (default: 1)")
    parser.add_argument("--vcpu", type=int, metavar="I", help="of this vCPU alone (default: each that is powered on, in turn)")


async def _step(arguments: argparse.Namespace) -> None:
    async def work(vm: VmClient, found: Found) -> None:
        stepped = await vm.step(arguments.instructions, arguments.vcpu)
        lines = [f"vcpu {one.vcpu}: {one.instructions} instructions, {one.ended}" for one in stepped]
        _show(arguments, [one.model_dump() for one in stepped], "\n".join(lines))

    await _with_vm(arguments, work)


def _events_arguments(parser: argparse.ArgumentParser) -> None:
    _one_vm(parser)
    parser.add_argument(
        "--kinds", default="state", metavar="KIND,...", help="state, exit, kick, request, handled (default: state)"
    )


async def _events(arguments: argparse.Namespace) -> None:
    async def work(vm: VmClient, found: Found) -> None:
        async for event in vm.events(arguments.kinds.split(",")):
            if arguments.json:
                print(json.dumps({"event": event.name, **event.data}), flush=True)
            else:
                print(event.name, *(f"{key}={value}" for key, value in event.data.items()), flush=True)

    await _with_vm(arguments, work)


def _registers_arguments(parser: argparse.ArgumentParser) -> None:
    _one_vm(parser)
    parser.add_argument("--vcpu", type=int, default=0, metavar="I", help="of which vCPU (default: 0)")


async def _registers(arguments: argparse.Namespace) -> None:
    async def work(vm: VmClient, found: Found) -> None:
        registers = await vm.registers(arguments.vcpu)
        lines = [f"{name:<14} {value:#018x}" for name, value in registers.items()]
        _show(arguments, {name: hex(value) for name, value in registers.items()}, "\n".join(lines))

    await _with_vm(arguments, work)


def _irq_arguments(parser: argparse.ArgumentParser) -> None:
    _one_vm(parser)
    parser.add_argument("irq", type=int, metavar="N", help="the shared input of the interrupt controller, from 0")
    parser.add_argument("action", nargs="?", choices=("pulse", "raise", "lower"), default="pulse", help="default: pulse")


async def _irq(arguments: argparse.Namespace) -> None:
    async def work(vm: VmClient, found: Found) -> None:
        await vm.irq(arguments.irq, arguments.action)

    await _with_vm(arguments, work)


def create_ps() -> Command:
    """`avmm ps`."""
    text = "List the running VMs of this user: those that `avmm run --control` lets be steered."
    return ControlCommand("list running VMs", text, _ps, _no_arguments)


def create_inspect() -> Command:
    """`avmm inspect`."""
    return ControlCommand("show a running VM", "Show how a running VM stands.", _inspect, _one_vm)


def create_pause() -> Command:
    """`avmm pause`."""
    return ControlCommand("pause a running VM", "Pause a running VM.", _live(lambda vm: vm.pause()), _one_vm)


def create_resume() -> Command:
    """`avmm resume`."""
    return ControlCommand("let a paused VM go on", "Let a paused VM go on.", _live(lambda vm: vm.resume()), _one_vm)


def create_reset() -> Command:
    """`avmm reset`."""
    return ControlCommand("reset a running VM", "Reset a running VM.", _live(lambda vm: vm.reset()), _one_vm)


def create_power_off() -> Command:
    """`avmm power-off`."""
    text = "Switch a running VM off, at once, as when its guest asks for it."
    return ControlCommand("switch a running VM off", text, _live(lambda vm: vm.power_off()), _one_vm)


def create_power_button() -> Command:
    """`avmm power-button`."""
    text = (
        "Press a running VM's power button: its guest is asked to shut down, and does so or not. The VM needs the device pl061."
    )
    return ControlCommand("ask a running VM's guest to shut down", text, _live(lambda vm: vm.press_power_button()), _one_vm)


def create_stop() -> Command:
    """`avmm stop`."""
    return ControlCommand("end a running VM", "End a running VM from the host's side.", _live(lambda vm: vm.stop()), _one_vm)


def create_step() -> Command:
    """`avmm step`."""
    return ControlCommand("execute instructions of a paused VM", "Step a paused VM.", _step, _step_arguments)


def create_events() -> Command:
    """`avmm events`."""
    return ControlCommand(
        "print what happens in a VM", "Print what happens in a running VM until it ends.", _events, _events_arguments
    )


def create_registers() -> Command:
    """`avmm registers`."""
    return ControlCommand("print registers of a paused VM", "Print a vCPU's registers.", _registers, _registers_arguments)


def create_irq() -> Command:
    """`avmm irq`."""
    return ControlCommand("inject an interrupt", "Pulse, raise or lower an interrupt line of a running VM.", _irq, _irq_arguments)
