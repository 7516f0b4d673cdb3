"""vCPUs: registers and device attributes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from avmm_control.models import AttributeValue, Hex, NewAttribute, NewValue, RegisterValue
from avmm_control.routes.common import Named, VcpuIndex, hexadecimal

router = APIRouter(prefix="/v1/vms/{vm}/vcpus/{vcpu}", tags=["vCPUs"])
_WORD_PATTERN = "^[A-Za-z0-9_]{1,64}$"
Register = Annotated[str, Path(description="The register's lower-case name.", pattern="^[a-z0-9_]{1,32}$")]
Group = Annotated[str, Path(description="The group's name or number.", pattern=_WORD_PATTERN)]
Attribute = Annotated[str, Path(description="The attribute's name or number.", pattern=_WORD_PATTERN)]


@router.get("/registers")
async def registers(served: Named, vcpu: VcpuIndex) -> dict[str, Hex]:
    """All registers of a vCPU. Not while the VM runs."""
    return {name: hexadecimal(value) for name, value in (await served.steering.registers(vcpu)).items()}


@router.get("/registers/{name}")
async def register(served: Named, vcpu: VcpuIndex, name: Register) -> RegisterValue:
    """One register of a vCPU. Not while the VM runs."""
    return RegisterValue(name=name, value=hexadecimal(await served.steering.register(vcpu, name)))


@router.put("/registers/{name}", status_code=204)
async def set_register(served: Named, vcpu: VcpuIndex, name: Register, new: NewValue) -> None:
    """Set a register of a vCPU. Not while the VM runs."""
    await served.steering.set_register(vcpu, name, new.value)


@router.get("/attributes")
async def attributes(served: Named, vcpu: VcpuIndex) -> dict[str, list[str]]:
    """The device attributes of a vCPU by group, as the Linux kernel's documents name them."""
    return dict(served.steering.attributes(vcpu))


@router.get("/attributes/{group}/{attribute}")
async def attribute(served: Named, vcpu: VcpuIndex, group: Group, attribute: Attribute) -> AttributeValue:
    """A device attribute of a vCPU (KVM_GET_DEVICE_ATTR)."""
    value = served.steering.attribute(vcpu, _number_or_name(group), _number_or_name(attribute))
    return AttributeValue(group=group, attribute=attribute, value=hexadecimal(value))


@router.put("/attributes/{group}/{attribute}", status_code=204)
async def set_attribute(served: Named, vcpu: VcpuIndex, group: Group, attribute: Attribute, new: NewAttribute) -> None:
    """Set a device attribute of a vCPU (KVM_SET_DEVICE_ATTR)."""
    served.steering.set_attribute(vcpu, _number_or_name(group), _number_or_name(attribute), new.value)


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdigit() else text
