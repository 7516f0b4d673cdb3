"""What the routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request

from avmm_control.hub import Hub, ServedVm
from avmm_control.models import WORD, to_number


async def hub_of(request: Request) -> Hub:
    """The server's VMs."""
    hub = request.app.state.hub
    assert isinstance(hub, Hub)
    return hub


TheHub = Annotated[Hub, Depends(hub_of)]


async def _named(hub: TheHub, vm: Annotated[str, Path(description="The VM's name.", max_length=32)]) -> ServedVm:
    return hub.get(vm)


Named = Annotated[ServedVm, Depends(_named)]
"""The VM that the path names."""
VcpuIndex = Annotated[int, Path(alias="vcpu", description="The vCPU's index, from 0.", ge=0, le=511)]

_ADDRESS = Query(
    description="Guest physical address, decimal or 0x...", pattern="^(0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19})$", max_length=20
)


async def _address(address: Annotated[str, _ADDRESS]) -> int:
    value = to_number(address)
    assert isinstance(value, int)
    if value >= WORD:
        raise ValueError(f"{address} does not fit 64 bits")
    return value


Address = Annotated[int, Depends(_address)]


def binary(description: str) -> dict[str, object]:
    """What OpenAPI says of a body of bytes."""
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"description": description, "required": True, "content": content}}


def hexadecimal(value: int) -> str:
    """A number as the API writes it."""
    return f"0x{value:x}"
