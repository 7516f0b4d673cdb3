"""Running VMs, found by their control sockets."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from avmm.plugin import AvmmError, NotThere
from avmm_control.address import runtime_directory_if_there
from avmm_control.client import ControlClient
from avmm_control.models import VmSummary
from avmm_control.sockets import answers

PATIENCE_S = 5.0
"""How long a server may take to say what it has, in seconds."""


@dataclass(frozen=True, slots=True)
class Found:
    """A VM, and where it is steered from."""

    address: str
    vm: VmSummary


def live_sockets() -> list[Path]:
    """The user's control sockets in the usual place. Those of processes that are gone are taken away."""
    directory = runtime_directory_if_there()
    live = []
    for path in sorted(directory.glob("*.sock")) if directory is not None else ():
        try:
            status = path.lstat()
            if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.getuid():
                continue
            if answers(path):
                live.append(path)
            elif not _is_starting(path):
                path.unlink()
        except FileNotFoundError:  # its VM ended meanwhile
            continue
    return live


def _is_starting(path: Path) -> bool:
    """True when the process that the socket is named after is there: it may be about to listen."""
    return Path("/proc", path.stem.rpartition("-")[2] or "-").exists()


async def find_all() -> list[Found]:
    """All VMs behind `live_sockets()`, by name. A server that ends meanwhile, or does not answer, is left out."""
    answered = await asyncio.gather(*(_ask(str(path), None) for path in live_sockets()), return_exceptions=True)
    found = []
    for one in answered:
        if isinstance(one, list):
            found += one
        elif not isinstance(one, AvmmError):
            raise one
    return sorted(found, key=lambda one: (one.vm.name, one.vm.pid))


async def _ask(address: str, token: str | None) -> list[Found]:
    async with ControlClient(address, token=token, timeout_s=PATIENCE_S) as control:
        return [Found(address, vm) for vm in await control.vms()]


async def find(target: str, token: str | None = None) -> Found:
    """The VM that `target` names: its name, its process, its socket's path, or HOST:PORT; NotThere unless it is one.

    An address may have the VM's name behind it, after a `#`, where it has several.
    """
    if "/" in target or ":" in target:
        address, _, name = target.partition("#")
        there = await _ask(address, token)
        chosen = [one for one in there if not name or one.vm.name == name]
    else:
        there = await find_all()
        chosen = [one for one in there if one.vm.name == target] or [one for one in there if str(one.vm.pid) == target]
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        raise NotThere(f"{target}: no such VM; {_those(there)}")
    raise NotThere(f"{target} names several VMs; {_those(chosen)}")


def _those(found: list[Found]) -> str:
    if not found:
        return "none is running with --control"
    return "there is " + ", ".join(f"{one.vm.name} (process {one.vm.pid})" for one in found)
