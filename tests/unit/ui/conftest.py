"""A scripted VM with its page at a free port of the loopback, and clients that know the token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from websockets.asyncio.client import connect

from avmm.testing import ScriptedVm, Spin
from avmm.testing.scripted_vcpu import Program
from avmm_control.ui.instrument import UiInstrument


@dataclass
class Served:
    """A VM and its page."""

    vm: ScriptedVm
    ui: UiInstrument

    @property
    def base(self) -> str:
        """http://HOST:PORT"""
        return self.ui.url.partition("/#")[0]

    @property
    def token(self) -> str:
        """What the page's address ends with."""
        return self.ui.url.partition("#token=")[2]

    def http(self, *, token: bool = True) -> httpx.AsyncClient:
        """A client, that knows the token or not."""
        headers = {"Authorization": f"Bearer {self.token}"} if token else {}
        return httpx.AsyncClient(base_url=self.base, headers=headers, timeout=60)

    def live(self, query: str = "", **headers: str) -> connect:
        """A connection to the live stream."""
        url = f"{self.base.replace('http', 'ws', 1)}/v1/vms/{self.vm.name}/live{query}"
        return connect(url, additional_headers={"Authorization": f"Bearer {self.token}", **headers}, compression=None)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve() -> Serve:
    """`async with serve(program, ...) as served`: started, and entered at least once."""

    @asynccontextmanager
    async def served(*programs: Program, setting: str = "127.0.0.1:0", **settings: object) -> AsyncIterator[Served]:
        ui = UiInstrument(setting)
        async with ScriptedVm(*programs or ([Spin()],), instruments=[ui], **settings) as vm:  # type: ignore[arg-type]
            await vm.start()
            await vm.until(lambda: vm.guest().entries)
            yield Served(vm, ui)

    return served
