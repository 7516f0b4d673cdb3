"""What goes over the wire, in JSON."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from avmm.plugin import MAX_STEP, SteeredVm, VmSnapshot

WORD = 1 << 64
_NUMBER = r"(0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19})"


def to_number(value: object) -> object:
    """A number from its text, decimal or 0x...; ValueError else."""
    return int(value, 0) if isinstance(value, str) else value


_SCHEMA = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": WORD - 1}, {"type": "string", "pattern": f"^{_NUMBER}$"}],
    "description": "A whole number of up to 64 bits; as text, decimal or 0x..., where a reader of JSON would lose digits.",
}
Number = Annotated[int, BeforeValidator(to_number), Field(ge=0, lt=WORD), WithJsonSchema(_SCHEMA)]
Hex = Annotated[str, Field(pattern="^0x[0-9a-f]{1,16}$")]
"""A number of up to 64 bits as text."""


class Model(BaseModel):
    """What all of them share: nothing unknown, nothing guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class VmSummary(Model):
    """A VM in a few words."""

    name: str
    """As its description has it."""
    pid: int
    """The process it runs in."""
    state: Literal["init", "running", "paused", "reset", "halted"]
    """Where it is in its life."""
    vcpus: int
    """How many vCPUs it has."""
    memory_bytes: int
    """Guest memory."""
    arch: str
    """The arch plugin."""
    engine: str
    """The engine plugin."""
    cpu: str
    """The CPU that the guest sees."""
    kernel: str | None
    """The guest's file; null when it has none."""


class VmDetails(VmSummary):
    """A VM, whole."""

    snapshot: VmSnapshot
    """How it stands, as `avmm.plugin.VmSnapshot` describes it."""


class StepRequest(Model):
    """A step of a paused VM."""

    instructions: int = Field(ge=1, le=MAX_STEP)
    """How many each vCPU is to execute."""
    vcpu: int | None = Field(default=None, ge=0, le=511)
    """Which; null for every vCPU that is powered on, one after the other."""


class Stepped(Model):
    """How the step of one vCPU went."""

    vcpu: int
    """Which."""
    instructions: int
    """How many were executed."""
    ended: Literal["budget", "halted", "off", "debug", "fault", "over"]
    """Why: all were executed, the guest waits for an interrupt, it powered the vCPU off, a breakpoint, the engine cannot go on,
    or the run is over."""


class IrqRequest(Model):
    """What to do with a shared input of the interrupt controller."""

    irq: int = Field(ge=0, le=1019)
    """Its number from 0: INTID 32 + irq on a GIC."""
    action: Literal["pulse", "raise", "lower"] = "pulse"
    """Raise it and put it back, raise it, or lower it."""


class NewValue(Model):
    """What to set a register or an attribute to."""

    value: Number
    """A whole number of up to 64 bits; as text, decimal or 0x..., where a writer of JSON would lose digits."""


class RegisterValue(Model):
    """A register."""

    name: str
    """Its lower-case name."""
    value: Hex
    """Its value, 0x..."""


class NewAttribute(Model):
    """What to set a device attribute to; null for one that takes no value."""

    value: Number | None = None
    """As for a register."""


class AttributeValue(Model):
    """A device attribute."""

    group: str
    """As it was asked for."""
    attribute: str
    """As it was asked for."""
    value: Hex
    """Its value, 0x..."""


class Health(Model):
    """The server answers."""

    status: Literal["ok"] = "ok"
    """Always that."""
    vms: int
    """How many VMs it serves."""


def summary(vm: SteeredVm) -> VmSummary:
    """`vm` in a few words."""
    return VmSummary.model_validate(_facts(vm))


def details(vm: SteeredVm) -> VmDetails:
    """`vm`, whole."""
    return VmDetails.model_validate({**_facts(vm), "snapshot": vm.steering.snapshot()})


def _facts(vm: SteeredVm) -> dict[str, object]:
    config = vm.config
    return {
        "name": vm.name,
        "pid": os.getpid(),
        "state": vm.state(),
        "vcpus": len(vm.vcpus),
        "memory_bytes": config.memory_bytes,
        "arch": config.arch,
        "engine": config.engine,
        "cpu": config.cpu,
        "kernel": None if config.kernel is None else str(config.kernel),
    }
