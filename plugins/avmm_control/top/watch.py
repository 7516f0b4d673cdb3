"""The VMs that are watched: all of the user's, or those that were named."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from avmm.plugin import AvmmError
from avmm_control.client import ControlClient
from avmm_control.find import Found, find, find_all
from avmm_control.top.rates import Meter, VmRates


class Watch:
    """Looks at VMs again and again. An async context manager: it keeps connections to their servers."""

    def __init__(self, targets: Sequence[str] = (), token: str | None = None) -> None:
        """`targets` as `find()` takes them; without any, all VMs of the user, those that come later too."""
        self._targets, self._token = tuple(targets), token
        self._named: list[Found] = []
        self._clients: dict[str, ControlClient] = {}
        self._meters: dict[tuple[str, str], Meter] = {}
        self._undo = AsyncExitStack()

    async def __aenter__(self) -> Watch:
        self._named = [await find(target, self._token) for target in self._targets]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._undo.aclose()

    async def look(self) -> list[VmRates]:
        """How all of them fare. One that has ended, or does not answer, is left out."""
        found = self._named if self._targets else await find_all()
        looks = await asyncio.gather(*(self._look(one) for one in found))
        present = {(one.address, one.vm.name) for one in found}
        for gone in self._meters.keys() - present:
            del self._meters[gone]
        return [rates for rates in looks if rates is not None]

    async def _look(self, found: Found) -> VmRates | None:
        client = self._clients.get(found.address)
        if client is None:
            client = self._clients[found.address] = ControlClient(found.address, token=self._token)
            await self._undo.enter_async_context(client)
        try:
            now = await client.vm(found.vm.name).snapshot()
        except AvmmError:  # it ended between two looks
            return None
        return self._meters.setdefault((found.address, found.vm.name), Meter()).look(found, now)
