"""A scripted VM behind a control server on a Unix socket, and a plain HTTP client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from avmm.testing import ScriptedVm, Spin
from avmm.testing.scripted_vcpu import Program
from avmm_control.instrument import create_instrument

Serve = Callable[..., AbstractAsyncContextManager[tuple[ScriptedVm, httpx.AsyncClient]]]


def connect(path: Path) -> httpx.AsyncClient:
    """A client of the Unix socket `path`, without patience."""
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://avmm", timeout=60)


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """`async with serve(program, ...) as (vm, http)`: started, and entered at least once."""

    @asynccontextmanager
    async def served(*programs: Program, **settings: object) -> AsyncIterator[tuple[ScriptedVm, httpx.AsyncClient]]:
        path = tmp_path / "control.sock"
        instruments = [create_instrument(str(path))]
        async with ScriptedVm(*programs or ([Spin()],), instruments=instruments, **settings) as vm:  # type: ignore[arg-type]
            await vm.start()
            await vm.until(lambda: vm.guest().entries)
            async with connect(path) as http:
                yield vm, http

    return served
