"""Guest memory."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from avmm_control.limits import MIB
from avmm_control.routes.common import Address, Named, binary

router = APIRouter(prefix="/v1/vms/{vm}/memory", tags=["Memory"])
_BYTES: dict[int | str, dict[str, object]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get("", response_class=Response, responses=_BYTES)
async def read_memory(
    served: Named, address: Address, length: Annotated[int, Query(description="Bytes.", ge=1, le=MIB)]
) -> Response:
    """Guest memory as it is, at a guest physical address. A running guest may be writing meanwhile."""
    return Response(served.steering.read_memory(address, length), media_type="application/octet-stream")


@router.put("", status_code=204, openapi_extra=binary("What to store, up to a MiB."))
async def write_memory(served: Named, address: Address, request: Request) -> None:
    """Store the body in guest memory. Overwritten code may be executed as it was until the guest looks after its cache."""
    served.steering.write_memory(address, await request.body())
